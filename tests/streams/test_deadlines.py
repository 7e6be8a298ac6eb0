"""An inference service that takes too long is given up, and what had come is kept."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.outcomes import assert_failed, assert_refused
from tests.support.server import Server
from tests.support.steps import Step, endless, head, stall, token, wire
from tests.support.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    deadlines = {"INFERENCE_START_TIMEOUT": "1", "INFERENCE_IDLE_TIMEOUT": "1", "GENERATION_TIMEOUT": "3"}
    with new_server(**deadlines) as server:
        yield server


def test_an_upstream_that_never_answers_is_a_504(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(stall())
    stream = client.send(conversation, "hello?")
    assert_refused(client, conversation, stream, status=504, code="upstream_timeout")
    upstream.generations()[0].wait_client_left()


@pytest.mark.parametrize(
    ("before", "text"), [(head(), ""), (token("half"), "half")], ids=["after its headers", "after a token"]
)
def test_an_upstream_that_falls_silent_is_given_up(
    client: Client, conversation: str, upstream: ScriptedUpstream, before: Step, text: str
) -> None:
    upstream.script(before, stall())
    stream = client.send(conversation, "go on")
    assert_failed(client, conversation, stream, code="upstream_timeout", text=text)
    upstream.generations()[0].wait_client_left()


@pytest.mark.parametrize(
    "slow",
    [
        wire(b"", then=b"HTTP/1.1 100 Continue\r\n\r\n"),
        wire(b"", then=b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        wire(b"HTTP/1.1 2", then=b"0"),
        wire(b"HTTP/1.1 200 OK\r\nX-Slow: ", then=b"x"),
        wire(b"HTTP/1.1 200 OK\r\n", then=b"X-Many: x\r\n"),
    ],
    ids=["100 without end", "103 without end", "status line", "header", "headers"],
)
def test_a_head_that_drips_is_given_up(client: Client, conversation: str, upstream: ScriptedUpstream, slow: Step) -> None:
    upstream.script(slow)
    stream = client.send(conversation, "hello?")
    assert_refused(client, conversation, stream, status=504, code="upstream_timeout")
    upstream.generations()[0].wait_client_left()


@pytest.mark.parametrize(
    "slow", [wire(b"5;", then=b"x"), wire(b"0\r\nX-Trailer: ", then=b"x")], ids=["chunk extension", "trailer"]
)
@pytest.mark.parametrize(("before", "text"), [(head(), ""), (token("half"), "half")], ids=["at once", "after a token"])
def test_a_chunk_that_drips_is_given_up(
    client: Client, conversation: str, upstream: ScriptedUpstream, before: Step, text: str, slow: Step
) -> None:
    upstream.script(before, slow)
    stream = client.send(conversation, "go on")
    assert_failed(client, conversation, stream, code="upstream_timeout", text=text)
    upstream.generations()[0].wait_client_left()


@pytest.mark.parametrize(
    "flood",
    [
        wire(b"", then=b"HTTP/1.1 100 Continue\r\n\r\n" * 100, every_s=0),
        wire(b"HTTP/1.1 200 OK\r\nX-Long: ", then=b"x" * 10_000, every_s=0),
        wire(b"HTTP/1.1 200 OK\r\n", then=b"X-Long: %b\r\n" % (b"x" * 10_000), every_s=0),
    ],
    ids=["interim answers", "header", "headers"],
)
def test_a_head_of_more_than_64_kib_is_refused(
    client: Client, conversation: str, upstream: ScriptedUpstream, flood: Step
) -> None:
    upstream.script(flood)
    stream = client.send(conversation, "hello?")
    assert_refused(client, conversation, stream, status=502, code="upstream_error")
    upstream.generations()[0].wait_client_left()


def test_a_reply_without_end_is_given_up(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(endless("on and "))
    stream = client.send(conversation, "talk")
    stream.finish()
    assert stream.text.startswith("on and on and ")
    assert_failed(client, conversation, stream, code="upstream_timeout", text=stream.text)
    upstream.generations()[0].wait_client_left()


def test_a_reply_of_more_than_a_mebibyte_is_given_up(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    block = "y" * 65536
    upstream.script(endless(block, every_s=0.001))
    stream = client.send(conversation, "pour")
    stream.finish()
    assert len(stream.text) == 2**20 + len(block)
    assert_failed(client, conversation, stream, code="upstream_error", text=stream.text)
    upstream.generations()[0].wait_client_left()
