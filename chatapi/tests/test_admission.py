"""How many requests are worked on at once."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chatapi.incoming import admission as admission_module
from chatapi.incoming.admission import Admission, Overloaded, do_requests_wait, release_permit
from chatapi.service_error import ERROR_KEY
from tests.support.waiting import LIMIT_S, wait_until

PLACES = 2


def send(conversation: object) -> str:
    return f"/api/conversations/{conversation}/messages"


class Work:
    """An application that works until it is told to end, and does something first."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.problems: list[object] = []
        self.may_end = threading.Event()
        self.first: Callable[[], None] = lambda: None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if ERROR_KEY in environ:
            self.problems.append(environ[ERROR_KEY])
            return [b"refused"]
        self.first()
        self.begun.append(environ["PATH_INFO"])
        assert self.may_end.wait(LIMIT_S)
        return [b"answer"]


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.may_end.set()


@pytest.fixture
def ask(settings: Any, work: Work) -> Iterator[Callable[..., Any]]:
    settings.DB_POOL_SIZE = PLACES
    application = Admission(work)
    with ThreadPoolExecutor(20) as clients:
        yield lambda path, method="POST": clients.submit(application, {"PATH_INFO": path, "REQUEST_METHOD": method}, None)
        work.may_end.set()


def test_requests_beyond_the_places_wait_and_come_in_order(ask: Callable[..., Any], work: Work) -> None:
    first = [ask(send(number)) for number in range(PLACES)]
    wait_until(lambda: len(work.begun) == PLACES, "all places are taken")
    assert not do_requests_wait()
    later = ask(send("later"))
    wait_until(do_requests_wait, "the request waits")
    assert send("later") not in work.begun
    work.may_end.set()
    assert [asked.result(LIMIT_S) for asked in [*first, later]] == [[b"answer"]] * (PLACES + 1)
    assert work.begun[-1] == send("later")
    assert not do_requests_wait()


def test_a_request_that_waits_for_something_else_lets_the_next_one_in(ask: Callable[..., Any], work: Work) -> None:
    work.first = lambda: (release_permit(), release_permit())  # type: ignore[func-returns-value, return-value]
    for number in range(3 * PLACES):
        ask(send(number))
    wait_until(lambda: len(work.begun) == 3 * PLACES, "all requests have begun")


def test_a_failure_leaves_its_place(settings: Any) -> None:
    settings.DB_POOL_SIZE = PLACES

    def fail(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("it failed")

    application = Admission(fail)
    for _ in range(2 * PLACES):
        with pytest.raises(RuntimeError):
            application({"PATH_INFO": "/"}, None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/conversations"),
        ("DELETE", "/api/conversations/1"),
        ("POST", "/api/conversations/1/stop"),
        ("POST", "/api/conversations/1/stop/"),
        ("POST", "/v1/responses/1/cancel"),
        ("POST", "/api/conversations"),
        ("POST", "/api/conversations/1/messages/2/ticket"),
        ("POST", "/nowhere"),
    ],
)
def test_a_quick_request_does_not_wait_behind_sends(ask: Callable[..., Any], work: Work, method: str, path: str) -> None:
    for number in range(PLACES + 1):
        ask(send(number))
    wait_until(lambda: len(work.begun) == PLACES, "all places of sends are taken")
    ask(path, method)
    wait_until(lambda: path in work.begun, "the other request has begun")


@pytest.mark.parametrize("path", ["/api/health", "/health", "/api/ready"])
def test_probes_do_not_wait(ask: Callable[..., Any], work: Work, path: str) -> None:
    for number in range(PLACES + 1):
        ask(send(number))
    wait_until(lambda: len(work.begun) == PLACES, "all places are taken")
    ask(path)
    wait_until(lambda: path in work.begun, "the probe is answered")


def test_a_request_that_waits_too_long_is_refused(ask: Callable[..., Any], work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "PATIENCE_S", 0.05)
    for number in range(PLACES):
        ask(send(number))
    wait_until(lambda: len(work.begun) == PLACES, "all places are taken")
    assert ask(send("late")).result(LIMIT_S) == [b"refused"]
    [problem] = work.problems
    assert isinstance(problem, Overloaded)
    assert (problem.code, problem.status, problem.retry_after_s) == ("overloaded", 503, 1)
