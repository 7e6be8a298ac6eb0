"""Whether requests get slower as tables grow: a user with 100,000 conversations among 10 million messages, and a user alone.

    make bench BENCH=growth ARGS="--messages 1000000 --conversations 10000"     a tenth of it, made in a minute

Two servers, one for each database, are asked in turn, one request at a time. The figures are medians of the times that a client
waits. The databases are kept for the next run, in the folder of the benchmarks' PostgreSQL.
"""

import argparse
import http.client
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from benchmarks.contenders import Contender, metronome, our_service
from benchmarks.databases import start_postgres
from benchmarks.large_tables import FREQUENT, RARE, TURNS, UNSPACED, USER, Size, database
from benchmarks.measuring import take_load_processors
from benchmarks.ratios import machine
from benchmarks.requests import Request
from tests.support.auth import make_token
from tests.support.client import Client

ALONE = Size(of_user=100, conversations=100)
TARGET = 1.3


class BigUser:
    """The user with many conversations, or alone, as a client of one server."""

    def __init__(self, contender: Contender) -> None:
        user = Client(contender.port, make_token(USER))
        self._headers = {"Authorization": f"Bearer {user.token}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection("127.0.0.1", contender.port)
        newest = user.get("/api/conversations?limit=1")["items"][0]["id"]
        other = user.create_conversation()
        send = {"content": "Hi", "max_tokens": 1, "top_k": 200}
        self.asks: dict[str, Request] = {
            "list 50": ("GET", "/api/conversations?limit=50", None),
            "open the newest 50 messages": ("GET", f"/api/conversations/{newest}/messages?limit=50", None),
            "send, reply of one token": ("POST", f"/api/conversations/{other}/messages", send),
            "search, frequent word": ("GET", f"/api/search?q={FREQUENT}", None),
            "search, rare word": ("GET", f"/api/search?q={RARE}", None),
            "search, no match": ("GET", "/api/search?q=xylophonist", None),
            "search without spaces": ("GET", f"/api/search?q={quote(UNSPACED[2:6])}", None),
            "search without spaces, no match": ("GET", f"/api/search?q={quote('没有这样的')}", None),
            # The words are random hexadecimal digits, so one title in five has these two.
            "list by title": ("GET", "/api/conversations?q=a1", None),
            "list by title, no match": ("GET", "/api/conversations?q=xylophonist", None),
            "list favourites, none": ("GET", "/api/conversations?favorited=true", None),
            "usage": ("GET", "/api/usage", None),
        }

    def seconds(self, name: str) -> float:
        method, path, body = self.asks[name]
        started_at = time.perf_counter()
        self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status == 200, (answer.status, path)
        return time.perf_counter() - started_at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000_000, help="in the large table")
    parser.add_argument("--conversations", type=int, default=100_000, help="of the user, in the large table")
    parser.add_argument("--requests", type=int, default=30, help="of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    options = parser.parse_args()
    take_load_processors()
    base = start_postgres()
    sizes = {"alone": ALONE, "large": Size(options.conversations, options.messages // (TURNS * 2))}
    with ExitStack() as parts:
        upstream, _ = parts.enter_context(metronome())
        users = {}
        for name, size in sizes.items():
            url = database(base, f"growth_{name}", size)
            users[name] = BigUser(parts.enter_context(our_service(base, upstream, database_url=url)))
        figures = {name: measure(users, name, options.requests) for name in users["alone"].asks}
    of_user, messages = sizes["large"].of_user, sizes["large"].messages
    print(
        f"a user with {of_user:,} conversations among {messages:,} messages, beside one with {ALONE.of_user} alone in the table"
    )
    print(f"{'':34} {'large':>10} {'alone':>10} {'ratio':>7}")
    for name, (large_s, alone_s) in figures.items():
        verdict = "" if large_s <= alone_s * TARGET else f"  more than {TARGET}"
        print(f"{name:34} {large_s * 1000:7.1f} ms {alone_s * 1000:7.1f} ms {large_s / alone_s:7.2f}{verdict}")
    if options.json:
        rows = {name: {"large_s": large_s, "alone_s": alone_s} for name, (large_s, alone_s) in figures.items()}
        options.json.write_text(json.dumps({"machine": machine(), "messages": messages, "figures": rows}, indent=2) + "\n")


def measure(users: dict[str, BigUser], name: str, count: int) -> tuple[float, float]:
    """Ask both in turn; return the medians."""
    seconds: dict[str, list[float]] = {"large": [], "alone": []}
    for number in range(count + 2):
        for size, user in users.items():
            took_s = user.seconds(name)
            if number >= 2:  # the first ones load what later ones find in memory
                seconds[size].append(took_s)
    return statistics.median(seconds["large"]), statistics.median(seconds["alone"])


if __name__ == "__main__":
    main()
