"""Pauses between the reads of fast replies, so that a process with many of them wakes up less often."""

import math
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from inference_proxy.protocols.base import GenerationRequest
from inference_proxy.replies import pacing
from inference_proxy.replies.generation import Generation
from inference_proxy.replies.pacing import UNPACED_READS, Pacer
from inference_proxy.replies.store import FinishedReply
from inference_proxy.upstream.call import UpstreamCall
from tests.support.waiting import LIMIT_S

TOKENS = 300
REQUEST = GenerationRequest([{"role": "user", "content": "Go."}])


class Store:
    """Keeps the ends of replies."""

    def __init__(self) -> None:
        self.ends: list[FinishedReply] = []

    def finish(self, reply: FinishedReply) -> None:
        self.ends.append(reply)


class FastService:
    """A service that makes tokens at a steady rate; each read returns what was made since the last one."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self.reads: list[int] = []
        self.is_cut = threading.Event()
        self._sent = 0
        self._began_at = time.monotonic()

    def open(self, *_: Any) -> None:
        self._began_at = time.monotonic()

    def read(self, *, is_ready: bool = False) -> bytes:
        while (due := min(TOKENS, int((time.monotonic() - self._began_at) / self.every_s))) <= self._sent:
            if self.is_cut.wait(self.every_s / 4):
                return b""
        self.reads.append(due - self._sent)
        pieces = [b'data: {"token": "%d "}\n\n' % number for number in range(self._sent, due)]
        self._sent = due
        return b"".join(pieces) + (b'data: {"done": true}\n\n' if due == TOKENS else b"")

    def cut(self) -> None:
        self.is_cut.set()

    def close(self) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastService]:
    service = FastService(every_s=0.002)
    for name in ("open", "read", "cut", "close"):
        monkeypatch.setattr(UpstreamCall, name, lambda _, *args, name=name, **kwargs: getattr(service, name)(*args, **kwargs))
    yield service
    service.cut()


def run(pause_s: float) -> tuple[Generation, Store]:
    store = Store()
    generation = Generation(uuid.uuid4(), REQUEST, store, pause_s=lambda: pause_s)  # type: ignore[arg-type]
    generation.start()
    return generation, store


def test_a_fast_reply_is_read_in_larger_pieces(service: FastService) -> None:
    generation, store = run(pause_s=0.1)
    assert generation.has_ended.wait(LIMIT_S)
    assert store.ends[0].text == "".join(f"{number} " for number in range(TOKENS))
    assert store.ends[0].token_count == TOKENS
    # 300 tokens in 0.6 s; 6 reads after the first ones would do on an idle machine.
    assert len(service.reads) <= UNPACED_READS + 1 + TOKENS * service.every_s / 0.1


def test_a_stop_does_not_wait_for_the_pause(service: FastService) -> None:
    generation, store = run(pause_s=10 * LIMIT_S)
    follower = generation.transcript.follow()
    while len(service.reads) <= UNPACED_READS:
        follower.read(LIMIT_S)
    generation.stop()
    assert generation.has_ended.wait(LIMIT_S)
    assert store.ends[0].status == "stopped"


def test_only_a_reply_whose_tokens_would_gather_rests() -> None:
    fast, slow = Pacer(lambda: 0.1), Pacer(lambda: 0.1)
    assert [fast.rest_after(1, at / 100) for at in range(1, 7)] == [0, 0, 0, 0.1, 0.1, 0.1]
    assert [slow.rest_after(1, at / 5) for at in range(1, 7)] == [0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("every_s", "rest_s"), [(0.01, 0.1), (0.2, 0)])
def test_while_requests_wait_only_the_first_word_comes_at_once(
    monkeypatch: pytest.MonkeyPatch, every_s: float, rest_s: float
) -> None:
    monkeypatch.setattr(pacing, "do_requests_wait", lambda: True)
    monkeypatch.setattr(Pacer, "_usual_interval_s", math.inf)
    earlier, pacer = Pacer(lambda: 0.1), Pacer(lambda: 0.1)
    for number in range(2):
        earlier.rest_after(1, number * every_s)
    assert pacer.rest_after(1, 0, has_begun=False) == 0
    assert [pacer.rest_after(1, at * every_s) for at in range(1, 3)] == [rest_s, rest_s]
    # One that begins with its first word.
    assert Pacer(lambda: 0.1).rest_after(1, 0) == rest_s


def test_a_rest_gathers_at_least_two_tokens() -> None:
    pacer = Pacer(lambda: 0.06)
    assert [round(pacer.rest_after(1, at / 20), 3) for at in range(1, 5)] == [0, 0, 0, 0.1]


def test_what_gathered_in_a_rest_tells_the_pace() -> None:
    pacer = Pacer(lambda: 0.1)
    at = [pacer.rest_after(1, number / 100) for number in range(4)]
    assert at[-1] == 0.1
    assert pacer.rest_after(10, 0.13) == 0.1
    assert pacer.rest_after(1, 0.23) == 0


def test_no_limit_means_no_rest() -> None:
    pacer = Pacer(lambda: 0.0)
    assert not any(pacer.rest_after(50, 0.001 * number) for number in range(100))
