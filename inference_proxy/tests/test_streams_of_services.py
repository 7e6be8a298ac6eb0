"""Streams as inference servers, providers and gateways send them: which replies are whole, and which have failed.

Each line of `wordings/whole_streams.jsonl` and `wordings/failed_streams.jsonl` is the body of a 200.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from inference_proxy.protocols.base import GenerationRequest
from inference_proxy.protocols.thought_beginnings import thought_beginnings
from inference_proxy.replies.generation import Generation
from inference_proxy.replies.store import FinishedReply
from inference_proxy.tests.test_wordings import Wording, wordings

REPLY_ID = UUID(int=7)
PIECES = (7, 1_000_000)


class Call:
    """A call whose answer comes in pieces of one size, and ends as its framing says."""

    has_ended_cleanly = True

    def __init__(self, body: bytes, size: int) -> None:
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]

    def open(self, *_: Any) -> None:
        """The service accepts at once."""

    def read(self, *, is_ready: bool = False) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def cut(self) -> None:
        """There is no connection."""

    close = give_up_answer = cut


class Store:
    """Keep the end of the reply."""

    reply: FinishedReply

    def finish(self, reply: FinishedReply) -> None:
        self.reply = reply


def relay(stream: str) -> Iterator[FinishedReply]:
    """Yield how the reply ends, for pieces of each size."""
    for size in PIECES:
        store: Any = Store()
        generation: Any = Generation(REPLY_ID, GenerationRequest([{"role": "user", "content": "Hi"}]), store)
        generation._call = generation._asking._call = Call(stream.encode(), size)
        generation._run()
        yield store.reply


@pytest.fixture(autouse=True)
def protocol(settings: Any, request: pytest.FixtureRequest) -> None:
    settings.INFERENCE_PROTOCOL = request.getfixturevalue("wording").get("protocol", "openai")
    thought_beginnings.clear()


@pytest.mark.parametrize("wording", wordings("failed_streams"), ids=lambda wording: wording["name"])
def test_a_stream_that_reports_a_failure(wording: Wording) -> None:
    for reply in relay(wording["stream"]):
        assert (reply.status, reply.error_code != "") == ("failed", True)


@pytest.mark.parametrize("wording", wordings("whole_streams"), ids=lambda wording: wording["name"])
def test_a_stream_that_is_whole(wording: Wording) -> None:
    for reply in relay(wording["stream"]):
        assert (reply.status, reply.error_code) == ("complete", "")
        assert (reply.text, reply.reasoning) == (wording["text"], wording["reasoning"])
