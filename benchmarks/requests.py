"""What the common requests cost: CPU time of one worker, from the operating system, and how long one takes by itself."""

import argparse
import http.client
import json
import time
import uuid
from collections.abc import Callable

from benchmarks.contenders import metronome, our_service
from benchmarks.databases import start_postgres
from benchmarks.measuring import cpu_seconds, percentile, take_load_processors
from tests.support.auth import make_token
from tests.support.client import Client

CONVERSATIONS = 60
TURNS = 5
# The best of this many rounds is shown.
ROUNDS = 4
BATCH = 20
Request = tuple[str, str, object]


class CommonRequests:
    """A user with 60 conversations, one of them with 10 messages, and the requests that front-ends make most."""

    def __init__(self, port: int, worker: int, *, send_tokens: int = 1) -> None:
        self._worker = worker
        self._user = user = Client(port, make_token(uuid.uuid4()))
        self._connection = http.client.HTTPConnection("127.0.0.1", port)  # opens itself again after `close`
        ids = [user.create_conversation(title=f"Conversation {number}") for number in range(CONVERSATIONS)]
        for _ in range(TURNS):
            user.send(ids[0], "How long does tea keep?", max_tokens=5, top_k=200).finish()
        self._kinds: dict[str, Callable[[int], Request]] = {
            "health": lambda number: ("GET", "/api/health", None),
            "list": lambda number: ("GET", "/api/conversations?limit=50", None),
            "get": lambda number: ("GET", f"/api/conversations/{ids[0]}", None),
            "create": lambda number: ("POST", "/api/conversations", {"title": f"New {number}"}),
            "send": lambda number: (
                "POST",
                # To many: the history that goes upstream stays short.
                f"/api/conversations/{ids[1 + number % (CONVERSATIONS - 1)]}/messages",
                {"content": "Hi", "max_tokens": send_tokens, "top_k": 200},
            ),
            "rename": lambda number: ("PATCH", f"/api/conversations/{ids[1]}", {"title": f"Renamed {number}"}),
        }

    def measure(self, count: int) -> dict[str, tuple[float, float]]:
        """Make each kind of request `count` times. Return CPU seconds and median latency of one request, by kind."""
        self._connection.close()  # the server has closed it meanwhile
        cpu_s, seconds = dict.fromkeys(self._kinds, 0.0), {name: list[float]() for name in self._kinds}
        # In turns: all kinds see the machine as fast as it is at that moment.
        for first in range(0, count, BATCH):
            for name, kind in self._kinds.items():
                before = cpu_seconds(self._worker)
                for number in range(first, min(first + BATCH, count)):
                    started_at = time.perf_counter()
                    self._ask(kind(number))
                    seconds[name].append(time.perf_counter() - started_at)
                cpu_s[name] += cpu_seconds(self._worker) - before
        return {name: (cpu_s[name] / count, percentile(sorted(seconds[name]), 50)) for name in self._kinds}

    def ask(self, kind: str, count: int) -> None:
        """Make a kind of request `count` times."""
        self._connection.close()  # the server may have closed it meanwhile
        for number in range(count):
            self._ask(self._kinds[kind](number))

    def _ask(self, request: Request) -> None:
        method, path, body = request
        headers = {"Authorization": f"Bearer {self._user.token}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status < 300, (answer.status, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="of each kind and round")
    options = parser.parse_args()
    take_load_processors()
    with metronome() as (upstream, _), our_service(start_postgres(), upstream) as contender:
        common = CommonRequests(contender.port, contender.workers[0])
        rounds = [common.measure(options.requests) for _ in range(ROUNDS)]
    print(f"{'':8} CPU/request  latency p50  CPU/health")
    for name in rounds[0]:
        cpu_s, latency_s = (min(figures[name][index] for figures in rounds) for index in (0, 1))
        health_s = min(figures["health"][0] for figures in rounds)
        print(f"{name:8} {cpu_s * 1000:8.2f} ms {latency_s * 1000:9.2f} ms {cpu_s / health_s:8.1f} x")


if __name__ == "__main__":
    main()
