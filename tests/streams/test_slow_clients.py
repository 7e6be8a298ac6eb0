"""Slow and stalled clients cost neither the inference service nor other clients anything."""

from tests.support.client import Client
from tests.support.steps import done, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

BLOCK = "x" * 8000
STALLED = 10


def test_stalled_clients_hold_up_neither_the_upstream_nor_others(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*[BLOCK] * 60), done(), when="much")
    conversations = [client.create_conversation() for _ in range(STALLED)]
    streams = [client.send(conversation, "much", receive_buffer=4096) for conversation in conversations]
    # Nobody has read a byte of a reply that is far longer than all buffers on the way.
    for call in upstream.generations("much"):
        call.wait_over()
        assert call.client_left_at is None
    assert client.ask(client.create_conversation(), "how are you").text == "how are you"
    for conversation, stream in zip(conversations, streams, strict=True):
        assert wait_until(lambda: is_whole(client, conversation, stream.message_id), "the reply is saved")  # noqa: B023
    for stream in streams:
        stream.abort()


def test_a_slow_client_gets_everything_in_the_end(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*[BLOCK] * 60), done())
    stream = client.send(conversation, "much", receive_buffer=4096)
    wait_until(lambda: is_whole(client, conversation, stream.message_id), "the reply is saved")
    assert stream.finish()["status"] == "complete"
    assert stream.text == BLOCK * 60


def is_whole(client: Client, conversation: str, message_id: str) -> bool:
    message = client.message(conversation, message_id)
    return (message["status"], len(message["content"])) == ("complete", len(BLOCK) * 60)
