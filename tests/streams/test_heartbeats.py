"""A stream that is silent says so, or proxies would close it."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import done, head, hold, tokens
from tests.support.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(HEARTBEAT_SECONDS="1") as server:
        yield server


def test_silence_is_filled_with_comments(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    before_the_first, between = upstream.gate(), upstream.gate()
    upstream.script(head(), hold(before_the_first), tokens("one"), hold(between), tokens(" two"), done())
    stream = client.send(conversation, "slowly")
    read_pings(stream, 2)
    assert stream.objects == []
    before_the_first.open()
    stream.read_until("one")
    read_pings(stream, 2)
    between.open()
    assert stream.finish()["status"] == "complete"
    assert stream.text == "one two"


def test_comments_come_while_the_upstream_has_not_answered(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("one"), done())
    stream = client.send(conversation, "slow start")
    read_pings(stream, 2)
    gate.open()
    assert stream.finish()["status"] == "complete"


def test_a_follower_gets_comments_too(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), done())
    sender = client.send(conversation, "slowly")
    follower = client.follow(conversation, sender.message_id)
    follower.read_until("one")
    read_pings(follower, 2)
    gate.open()
    assert follower.finish()["status"] == "complete"


def read_pings(stream: Stream, count: int) -> None:
    """Read this many heartbeats; nothing else may come, but for the greeting."""
    pings = 0
    while pings < count:
        frame = stream.read()
        assert frame is not None, "the stream ended before its heartbeats"
        assert frame.object is None, frame
        pings += frame.comment == "ping"
        assert len(stream.frames) < 20, f"these are no heartbeats: {stream.frames}"
