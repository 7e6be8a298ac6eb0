"""Sends at a steady rate to the real service, and how long each took, while something else goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

CLIENTS = 8


@contextmanager
def serve(database_url: str, **settings: str) -> Iterator[Server]:
    """Run the service with one worker, an auth service and a model that answers at once."""
    with ExitStack() as parts:
        auth, upstream = parts.enter_context(ScriptedAuth()), parts.enter_context(ScriptedUpstream())
        server = Server(database_url=database_url, auth_url=auth.url, upstream_url=upstream.url, **settings)
        yield parts.enter_context(server)


class Sends:
    """Eight clients that send in turn, `rate` times a second in all, each to its own conversation."""

    def __init__(self, port: int, rate: float) -> None:
        self._period_s = CLIENTS / rate
        self._clients = [Client(port, make_token()) for _ in range(CLIENTS)]
        self._conversations = [client.create_conversation() for client in self._clients]

    def during(self, work: Callable[[], object]) -> list[float]:
        """Return how many seconds each send took, from when it was due to the saved reply, while `work` ran."""
        seconds: list[float] = []
        is_over = threading.Event()
        threads = [threading.Thread(target=self._send, args=(number, is_over, seconds)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            work()
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        return sorted(seconds)

    def _send(self, number: int, is_over: threading.Event, seconds: list[float]) -> None:
        client, conversation = self._clients[number], self._conversations[number]
        due = time.monotonic() + self._period_s * number / CLIENTS
        while not is_over.wait(max(0.0, due - time.monotonic())):
            path = f"/api/conversations/{conversation}/messages"
            answer = client.request("POST", path, {"content": "Hello there", "stream": False})
            assert answer.status == 200, answer
            seconds.append(time.monotonic() - due)
            due += self._period_s
