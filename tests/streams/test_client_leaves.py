"""A client that leaves changes nothing: the reply is made and kept all the same."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.client import Client, Stream
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

WORDS = tuple(f"word{number} " for number in range(50))


@pytest.mark.parametrize("leave", [Stream.close, Stream.abort], ids=["in good order", "abruptly"])
def test_the_whole_reply_is_kept_when_the_client_leaves_in_the_middle(
    client: Client, conversation: str, upstream: ScriptedUpstream, leave: Callable[[Stream], None]
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*WORDS[:10]), hold(gate), tokens(*WORDS[10:]), done())
    stream = client.send(conversation, "leave early")
    stream.read_until("word4 ")
    leave(stream)
    gate.open()
    message = wait_final(client, conversation, stream.message_id)
    assert (message["status"], message["content"], message["token_count"]) == ("complete", "".join(WORDS), 50)
    assert upstream.generations()[0].client_left_at is None


def test_the_whole_reply_is_kept_when_the_client_leaves_before_the_first_token(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), tokens(*WORDS), done())
    stream = client.send(conversation, "leave at once")
    stream.read()
    stream.abort()
    gate.open()
    message = wait_final(client, conversation, stream.message_id)
    assert (message["status"], message["content"]) == ("complete", "".join(WORDS))


def test_a_client_that_stops_reading_holds_up_no_other(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    block = "😀" * 8000  # in all more than the sockets' buffers take
    upstream.script(tokens(*[block] * 100), done())
    stream = client.send(conversation, "read nothing", receive_buffer=4096)
    message = wait_final(client, conversation, stream.message_id)
    assert (message["status"], len(message["content"])) == ("complete", 800_000)
    assert stream.finish()["status"] == "complete"
    assert stream.text == message["content"]


@pytest.mark.parametrize("turns", [20, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_done_means_saved(client: Client, upstream: ScriptedUpstream, turns: int) -> None:
    upstream.script(tokens(*WORDS), done())
    for number in range(turns):
        conversation = client.create_conversation()
        stream = client.send(conversation, f"turn {number}")
        stream.finish()
        stream.abort()
        messages = client.conversation(conversation)["messages"]
        assert [(item["status"], len(item["content"])) for item in messages[1:]] == [("complete", len("".join(WORDS)))]


def wait_final(client: Client, conversation: str, message_id: str) -> Any:
    """Wait until a message has ended and return it."""
    wait_until(lambda: client.message(conversation, message_id)["status"] != "streaming", "the reply has ended")
    return client.message(conversation, message_id)
