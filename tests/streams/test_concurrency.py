"""Many at once: one reply per conversation, hundreds of streams per worker, no database connection held."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, head, hold, tokens
from tests.support.upstream import ScriptedUpstream

STREAMS = 200
WORDS = tuple(f"word{number} " for number in range(20))


@pytest.fixture(scope="module")
def small_pool(new_server: StartServer) -> Iterator[Server]:
    with new_server(DB_POOL_SIZE="2") as server:
        yield server


def test_one_of_four_simultaneous_sends_gets_a_reply(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(head(), hold(gate), tokens("the one"), done())
    streams = at_once(lambda number: client.send(conversation, f"send {number}"), 4)
    assert Counter(stream.status for stream in streams) == {200: 1, 409: 3}
    (winner,) = (stream for stream in streams if stream.status == 200)
    for refusal in (stream.json for stream in streams if stream.status == 409):
        assert refusal["code"] == "generation_in_progress"
        assert refusal["message_id"] == winner.message_id
    gate.open()
    assert winner.finish()["status"] == "complete"
    assert [item["role"] for item in client.messages(conversation)] == ["user", "assistant"]
    assert len(upstream.generations()) == 1


def test_two_hundred_conversations_stream_at_once_on_one_worker(client: Client, upstream: ScriptedUpstream) -> None:
    first, second = upstream.gate(), upstream.gate()
    upstream.script(head(), hold(first), tokens(*WORDS[:10]), hold(second), tokens(*WORDS[10:]), done())
    conversations = [client.create_conversation() for _ in range(STREAMS)]
    streams = at_once(lambda number: client.send(conversations[number], f"stream {number}"), STREAMS)
    first.wait_held(STREAMS)
    first.open()
    second.wait_held(STREAMS)
    second.open()
    ends = at_once(lambda number: streams[number].finish(), STREAMS)
    assert Counter(end["status"] for end in ends) == {"complete": STREAMS}
    assert {stream.text for stream in streams} == {"".join(WORDS)}
    kept = at_once(lambda number: client.message(conversations[number], streams[number].message_id), STREAMS)
    assert {message["content"] for message in kept} == {"".join(WORDS)}


def test_open_streams_hold_no_database_connection(small_pool: Server, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("so far"), hold(gate), tokens(" and on"), done())
    visitor = client.at(small_pool.port)
    conversations = [visitor.create_conversation() for _ in range(50)]
    streams = at_once(lambda number: visitor.send(conversations[number], "hold"), 50)
    followers = [visitor.follow(conversations[number], streams[number].message_id) for number in range(10)]
    gate.wait_held(50)
    for reader in [*streams, *followers]:
        reader.read_until("so far")
    assert len(visitor.get("/api/conversations?limit=200")["items"]) == 50
    read = at_once(lambda number: visitor.conversation(conversations[number])["messages"][1]["status"], 20)
    assert set(read) == {"streaming"}
    gate.open()
    assert {reader.finish()["status"] for reader in [*streams, *followers]} == {"complete"}
    visitor.close()
