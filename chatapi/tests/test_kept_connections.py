"""Connections that are kept for the calls to come: not for too long, and given up when they are dead."""

import contextlib
import errno
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from chatapi.outgoing import connections as module
from chatapi.outgoing.calls import SILENT_SHARE, TIMES_AS_LONG, Call, Patience, patience_with
from chatapi.outgoing.connecting import connect
from chatapi.outgoing.connections import new_pools
from chatapi.outgoing.outbound import call_json_idempotently, new_session
from inference_proxy.upstream import call as upstream_module
from inference_proxy.upstream.call import UpstreamCall
from tests.support.waiting import LIMIT_S

# Long enough for a busy machine; a share of it is how long a silent connection is waited for.
PATIENT_S = 4.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Service:
    """Answers on its connections, until a router in between forgets those that there are."""

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._listener = self._ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.lost_requests = 0
        self._forgotten = 0
        self.answer = ANSWER
        self.last_words: bytes | None = None
        self._all_asked = threading.Barrier(1)
        threading.Thread(target=self._accept, daemon=True).start()

    def answer_together(self, calls: int) -> None:
        """Answer only when this number of calls have come, so that each has a connection of its own."""
        self._all_asked = threading.Barrier(calls)

    def forget_connections(self) -> None:
        """Swallow what comes over the connections that there are. Senders hear nothing."""
        self._forgotten = self.connections
        self._all_asked = threading.Barrier(1)

    def end_connections(self, last_words: bytes) -> None:
        """Say this to what comes over the connections that there are, and close them."""
        self._forgotten = self.connections
        self.last_words = last_words

    def close(self) -> None:
        self._ends.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._ends.enter_context(client)
            threading.Thread(target=self._serve, args=(client, self.connections), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with client, contextlib.suppress(OSError, threading.BrokenBarrierError):
            while client.recv(65536):
                if number <= self._forgotten:
                    self.lost_requests += 1
                    if self.last_words is not None:
                        client.sendall(self.last_words)
                        return
                else:
                    self._all_asked.wait(LIMIT_S)
                    client.sendall(self.answer)


@pytest.fixture
def service(settings: Any) -> Iterator[Service]:
    service = Service()
    settings.INFERENCE_SERVICE_URL = service.url
    patience_with.cache_clear()
    yield service
    service.close()
    patience_with.cache_clear()


@pytest.fixture(params=["small answers", "replies"])
def ask(request: pytest.FixtureRequest, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Ask the service as the auth service is asked, and as the inference service is."""
    session = new_session()
    monkeypatch.setattr(upstream_module, "_pools", new_pools(hosts=1, connections=4))

    def ask_for_json() -> None:
        answer = call_json_idempotently(session, "POST", service.url, json={}, headers={}, deadline_s=PATIENT_S)
        assert (answer.status, answer.body) == (200, {})

    def ask_for_reply() -> None:
        call = UpstreamCall(start_timeout_s=PATIENT_S, idle_timeout_s=LIMIT_S, total_timeout_s=LIMIT_S)
        call.open("/generate", {}, {})
        assert call.read() == b"{}"
        assert call.read() == b""
        call.close()

    yield ask_for_json if request.param == "small answers" else ask_for_reply
    session.close()


def test_a_connection_is_kept(ask: Callable[[], None], service: Service) -> None:
    ask()
    ask()
    assert service.connections == 1


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    ask: Callable[[], None], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.IDLE_S < 60
    ask()
    monkeypatch.setattr(module, "IDLE_S", -1.0)
    ask()
    assert service.connections == 2


def test_a_busy_connection_is_replaced_at_its_age(
    ask: Callable[[], None], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask()
    monkeypatch.setattr(module, "MOST_AGE_S", -1.0)
    ask()
    assert service.connections == 2


@pytest.mark.parametrize(
    ("hint", "connections"),
    [
        ("timeout=60", 1),
        ("timeout=60, max=99", 1),
        ("timeout=1", 2),
        ("Timeout=0", 2),
        ("timeout=60, max=0", 2),
        ("nonsense", 1),
    ],
)
def test_a_service_says_for_how_long_it_keeps_a_connection(
    ask: Callable[[], None], service: Service, hint: str, connections: int
) -> None:
    service.answer = ANSWER.replace(b"OK\r\n", b"OK\r\nKeep-Alive: %b\r\n" % hint.encode())
    ask()
    ask()
    assert service.connections == connections


@pytest.mark.parametrize(
    "last_words",
    [
        b"",
        b"\r\n",
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 408 Request Time-out\r\nContent-Type: text/html\r\n\r\n<h1>408 Request Time-out</h1>",
    ],
    ids=["nothing", "a line", "408", "page"],
)
def test_a_kept_connection_that_ends_at_its_reuse_is_replaced(
    ask: Callable[[], None], service: Service, last_words: bytes
) -> None:
    ask()
    service.end_connections(last_words)
    ask()
    assert (service.connections, service.lost_requests) == (2, 1)


def test_a_kept_connection_to_a_machine_that_is_gone_is_replaced(
    ask: Callable[[], None], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router answers for a machine that has left the network."""
    ask()
    begin, refused = http.client.HTTPResponse.begin, [OSError(errno.EHOSTUNREACH, "No route to host")]

    def begin_or_fail(response: http.client.HTTPResponse) -> None:
        if refused:
            raise refused.pop()
        begin(response)

    monkeypatch.setattr(http.client.HTTPResponse, "begin", begin_or_fail)
    ask()
    assert service.connections == 2


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("more", [b"\r\n", b"x", ANSWER, CHUNKED], ids=["a line", "x", "an answer", "chunks"])
def test_what_follows_an_answer_is_no_part_of_it(
    ask: Callable[[], None], service: Service, request: pytest.FixtureRequest, answer: bytes, more: bytes
) -> None:
    service.answer = answer + more
    ask()
    service.answer = answer
    ask()
    if request.node.callspec.params["ask"] == "replies":
        # A line end between two answers is allowed.
        assert service.connections == 1 + (more != b"\r\n" or answer == ANSWER)


def test_a_kept_connection_that_is_silent_is_replaced_within_the_same_limit(ask: Callable[[], None], service: Service) -> None:
    ask()
    service.forget_connections()
    ask()
    assert (service.connections, service.lost_requests) == (2, 1)


def test_one_silent_connection_is_enough_to_drop_the_idle_ones(ask: Callable[[], None], service: Service) -> None:
    service.answer_together(2)
    callers = [threading.Thread(target=ask) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(LIMIT_S)
    assert service.connections == 2
    service.forget_connections()
    ask()
    ask()
    assert service.lost_requests == 1


def test_a_service_that_is_slow_is_not_taken_for_silent() -> None:
    patience = Patience()
    assert patience.seconds(60) == 60 / SILENT_SHARE
    patience.note(30)
    assert patience.seconds(60) == 30 * TIMES_AS_LONG
    for _ in range(30):
        patience.note(0.1)
    assert patience.seconds(60) == 60 / SILENT_SHARE


def test_the_kernel_asks_whether_an_idle_connection_is_alive(service: Service) -> None:
    call = Call(LIMIT_S)
    with connect("127.0.0.1", int(service.url.rpartition(":")[2]), call=call, limit_s=LIMIT_S) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, between, times = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + between * times == 20
    call.finish()
