"""What the common requests cost: CPU time of one worker, from the operating system, and how long one takes by itself."""

import argparse
import http.client
import json
import time
from collections.abc import Callable

from benchmarks.databases import empty_database
from benchmarks.measuring import cpu_seconds, keep_apart, percentile
from benchmarks.sends import serve
from tests.support.auth import make_token
from tests.support.client import Client

CONVERSATIONS = 60
TURNS = 5
# The best of so many is shown.
ROUNDS = 4
Request = tuple[str, str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="of each kind and round")
    options = parser.parse_args()
    with serve(empty_database(), LOG_LEVEL="WARNING") as server:
        (worker,) = server.workers()
        keep_apart(worker)
        user = Client(server.port, make_token())
        ids = [user.create_conversation(title=f"Conversation {number}") for number in range(CONVERSATIONS)]
        for _ in range(TURNS):
            user.ask(ids[0], "How long does tea keep?")
        kinds: dict[str, Callable[[int], Request]] = {
            "health": lambda number: ("GET", "/api/health", None),
            "list 50": lambda number: ("GET", "/api/conversations?limit=50", None),
            "get, of 10 messages": lambda number: ("GET", f"/api/conversations/{ids[0]}", None),
            "create": lambda number: ("POST", "/api/conversations", {"title": f"New {number}"}),
            "send, of 1 token": lambda number: (
                "POST",
                # To many: the history that goes upstream stays short.
                f"/api/conversations/{ids[1 + number % (CONVERSATIONS - 1)]}/messages",
                {"content": "Hi"},
            ),
            "rename": lambda number: ("PATCH", f"/api/conversations/{ids[1]}", {"title": f"Renamed {number}"}),
        }
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        best = {name: (float("inf"), float("inf")) for name in kinds}
        for _ in range(ROUNDS):
            for name, kind in kinds.items():
                before, seconds = cpu_seconds(worker), []
                for number in range(options.requests):
                    started_at = time.perf_counter()
                    ask(connection, user, kind(number))
                    seconds.append(time.perf_counter() - started_at)
                cpu_s = (cpu_seconds(worker) - before) / options.requests
                best[name] = min(best[name], (cpu_s, percentile(sorted(seconds), 50)))
        print(f"{'':20} CPU/request  latency p50")
        for name, (cpu_s, latency_s) in best.items():
            print(f"{name:20} {cpu_s * 1000:8.2f} ms {latency_s * 1000:9.2f} ms")


def ask(connection: http.client.HTTPConnection, user: Client, request: Request) -> None:
    method, path, body = request
    headers = {"Authorization": f"Bearer {user.token}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status < 300, (answer.status, path)


if __name__ == "__main__":
    main()
