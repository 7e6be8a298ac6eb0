"""What an inference service may say beside plain tokens, and how much of it."""

import json
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.exchange import Exchange
from tests.support.outcomes import assert_failed
from tests.support.steps import Step, done, event, hold, raw, stall, token, tokens
from tests.support.upstream import ScriptedUpstream


def events(*payloads: str, times: int = 1) -> Step:
    """Send events in one piece, as often as asked."""
    piece = "".join(f"data: {payload}\n\n" for payload in payloads).encode()

    def step(exchange: Exchange) -> None:
        for _ in range(times):
            exchange.write(piece)

    return step


def test_an_emoji_in_two_tokens_is_shown_and_kept(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(event(r'{"token": "so \ud83d"}'), event(r'{"token": "\ude00 nice"}'), event(r'{"token": "\ud83d"}'), done())
    stream = client.ask(conversation, "smile")
    assert stream.text == "so 😀 nice"
    assert [frame.id for frame in stream.frames if frame.object and "token" in frame.object] == [3, 9]
    assert client.message(conversation, stream.message_id)["content"] == "so 😀 nice"


def test_a_token_beside_nan_is_relayed_as_json(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(event('{"token": "a", "score": NaN, "gpu": 0}'), hold(gate := upstream.gate()), done())
    stream = client.send(conversation, "score")
    stream.read_until("a")
    # The client's parser would accept NaN, too; a browser's does not.
    assert [frame.object for frame in stream.frames if frame.object] == [{"token": "a", "score": None, "gpu": 0}]
    gate.open()
    stream.finish()


def test_a_last_token_may_come_with_the_end(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("almost "), event('{"token": "there", "gpu": 0, "done": true}'))
    stream = client.ask(conversation, "both")
    assert stream.objects[-2] == {"token": "there", "gpu": 0}
    assert [item for item in stream.objects if "done" in item] == [stream.objects[-1]]
    assert client.message(conversation, stream.message_id)["content"] == "almost there"


def test_empty_tokens_cost_nothing(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(events('{"token": "", "gpu": 0}', *['{"token": ""}'] * 999, times=100), token("said"), done())
    stream = client.ask(conversation, "mumble")
    assert [item for item in stream.objects if "done" not in item] == [{"token": "said", "gpu": 0}]
    assert client.message(conversation, stream.message_id)["status"] == "complete"


@pytest.mark.parametrize(
    ("note", "per_piece"), [({"note": 1}, 1_000), ({"note": "x" * 100_000}, 1)], ids=["many small ones", "large ones"]
)
def test_frames_without_text_are_bounded(
    client: Client, conversation: str, upstream: ScriptedUpstream, note: dict[str, Any], per_piece: int
) -> None:
    upstream.script(events(*[json.dumps(note)] * per_piece, times=100), stall())
    stream = client.send(conversation, "notes")
    assert_failed(client, conversation, stream, code="upstream_error", text="")
    assert len(stream.objects) < 100 * per_piece
    upstream.generations()[0].wait_client_left()


def test_fields_beside_tokens_are_bounded(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(*[token("t", logits="x" * 500_000)] * 20, stall())
    stream = client.send(conversation, "with logits")
    stream.finish()
    assert_failed(client, conversation, stream, code="upstream_error", text=stream.text)
    assert len(stream.text) < 20
    upstream.generations()[0].wait_client_left()


def test_a_keep_alive_that_is_no_comment_is_not_shown(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(raw(b"data:\n\n", b"data: \n\n"), token("said"), done())
    stream = client.ask(conversation, "wait")
    assert [item for item in stream.objects if "done" not in item] == [{"token": "said", "gpu": 0}]
