"""How a reply reaches the client: one by one, unchanged, with ids to go on from, and kept."""

import json

import pytest

from tests.support.client import Client, Stream
from tests.support.steps import Step, crlf, done, event, hold, raw, tokens, unchunked
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.slow

FAMILY = "👩‍👩‍👧"  # five code points, one glyph
ACUTE = "e\u0301"  # two code points, one glyph


def as_bytes(*texts: str, newline: str = "\n") -> bytes:
    """Write what nanochat would send for these tokens, as one piece."""
    objects = [*({"token": text, "gpu": 0} for text in texts), {"done": True}]
    return "".join(f"data: {json.dumps(item, ensure_ascii=False)}{newline}{newline}" for item in objects).encode()


def test_tokens_arrive_while_the_reply_is_still_being_made(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    first, second = upstream.gate(), upstream.gate()
    upstream.script(tokens("one"), hold(first), tokens(" two"), hold(second), tokens(" three"), done())
    stream = client.send(conversation, "count")
    assert stream.read_object() == {"token": "one", "gpu": 0}
    first.open()
    assert stream.read_object() == {"token": " two", "gpu": 0}
    second.open()
    assert stream.finish()["status"] == "complete"
    assert stream.text == "one two three"


def test_ids_count_code_points(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    texts = ["ab", FAMILY, ACUTE, "中文", "\U0001d518"]
    upstream.script(tokens(*texts), done())
    stream = client.ask(conversation, "characters")
    ids = [frame.id for frame in stream.frames if frame.object and "token" in frame.object]
    assert ids == [2, 7, 9, 11, 12]
    assert client.message(conversation, stream.message_id)["content"] == "".join(texts)


def test_the_models_objects_come_unchanged(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    objects = [
        {"token": "a", "gpu": 3, "logprob": -0.25, "alternatives": [{"token": "b"}], "note": None},
        {"token": ' \n\t"quoted" \\ </script>', "gpu": 0},
        {"tool": "search", "query": "weather"},
    ]
    upstream.script(*(event(json.dumps(item)) for item in objects), done())
    stream = client.ask(conversation, "objects")
    assert [item for item in stream.objects if "done" not in item] == objects


def test_a_comment_comes_first_and_done_last(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("a", "b", "c"), done())
    stream = client.ask(conversation, "order")
    assert stream.frames[0].comment is not None
    assert [frame.event_id for frame in stream.frames[1:]] == ["1", "2", "3", "done"]
    last = stream.objects[-1]
    assert last["status"] == "complete"
    assert last["message_id"] == stream.message_id
    assert last["token_count"] == 3
    assert last["inference_time_ms"] >= 0


def test_a_comment_is_not_an_event(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("a"), done())
    body = client.send(conversation, "raw").body()
    assert body.startswith(b": stream\nid: 1\ndata: ")
    # Some client libraries hand out whatever comes before a blank line, so an event must be there.
    *events, rest = body.split(b"\n\n")
    assert ([b"\ndata: {" in event for event in events], rest) == ([True, True], b"")


def test_headers_name_the_messages_and_forbid_buffering(client: Client, conversation: str) -> None:
    stream = client.ask(conversation, "headers")
    question, answer = client.conversation(conversation)["messages"]
    assert stream.headers["Content-Type"].split(";")[0] == "text/event-stream"
    assert stream.headers["Cache-Control"] == "no-cache, no-transform"
    assert stream.headers["X-Accel-Buffering"] == "no"
    assert stream.headers["X-Message-Id"] == answer["id"]
    assert stream.headers["X-User-Message-Id"] == question["id"]
    assert client.get(stream.headers["Content-Location"])["id"] == answer["id"]


def test_the_conversation_keeps_both_messages(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("Namaste", "!"), done())
    client.ask(conversation, "Say hello in Hindi")
    kept = client.conversation(conversation)
    question, answer = kept["messages"]
    assert (question["role"], question["content"]) == ("user", "Say hello in Hindi")
    assert (answer["role"], answer["content"], answer["status"]) == ("assistant", "Namaste!", "complete")
    assert answer["token_count"] == 2
    assert answer["parent_id"] == question["id"]
    assert kept["title"] == "Say hello in Hindi"


def test_a_stream_may_be_split_at_every_byte(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    whole = as_bytes("é", "😀b")
    for position in range(1, len(whole)):
        upstream.script(raw(whole[:position], whole[position:]))
        stream = client.ask(conversation, f"split at {position}")
        assert stream.text == "é😀b", f"split at byte {position}"


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(as_bytes("é", "😀b"), "é😀b", id="lf"),
        pytest.param(as_bytes("é", "😀b", newline="\r\n"), "é😀b", id="crlf"),
        pytest.param(as_bytes("é", "😀b", newline="\r"), "é😀b", id="cr"),
        pytest.param(b"\xef\xbb\xbf" + as_bytes("a", "b"), "ab", id="byte order mark"),
        pytest.param(b": hi\n\nevent: token\nid: 9\nretry: 1\n" + as_bytes("a"), "a", id="comments and other fields"),
        pytest.param(b'data:{"token":\ndata: "a"}\n\ndata: {"done": true}\n\n', "a", id="data over two lines"),
        pytest.param(b'data: {"token":\r\ndata: "a"}\r\n\r\ndata: {"done": true}\r\n\r\n', "a", id="data over two lines, crlf"),
    ],
)
def test_a_stream_may_come_byte_by_byte(
    client: Client, conversation: str, upstream: ScriptedUpstream, stream: bytes, expected: str
) -> None:
    upstream.script(raw(*(stream[i : i + 1] for i in range(len(stream)))))
    assert client.ask(conversation, "bytes").text == expected


def test_many_events_may_come_in_one_piece(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    texts = [f"{number} " for number in range(500)]
    upstream.script(raw(as_bytes(*texts)))
    stream = client.ask(conversation, "bulk")
    assert [item["token"] for item in stream.objects[:-1]] == texts


@pytest.mark.parametrize("line_ends", [(), (crlf(),)], ids=["lf", "crlf"])
def test_tokens_arrive_one_by_one_from_an_upstream_that_does_not_chunk(
    client: Client, conversation: str, upstream: ScriptedUpstream, line_ends: tuple[Step, ...]
) -> None:
    gate = upstream.gate()
    upstream.script(unchunked(), *line_ends, tokens("one"), hold(gate), tokens(" two"), done())
    stream = client.send(conversation, "unchunked")
    assert stream.read_object()["token"] == "one"
    gate.open()
    assert stream.finish()["status"] == "complete"
    assert stream.text == "one two"


def test_an_event_without_end_fails_the_reply(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    piece = b"x" * 65536
    upstream.script(tokens("kept"), raw(b'data: {"token": "', *[piece] * 17))
    stream = client.send(conversation, "endless event")
    assert stream.finish()["status"] == "failed"
    assert_error(stream, "upstream_error")
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["status"], message["error_code"]) == ("kept", "failed", "upstream_error")


def test_a_reply_without_words_is_complete_and_empty(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(done())
    stream = client.ask(conversation, "say nothing")
    assert stream.objects[-1]["token_count"] == 0
    assert client.message(conversation, stream.message_id)["content"] == ""


def test_characters_that_the_database_cannot_hold_are_left_out(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(event('{"token": "a\\u0000b"}'), event('{"token": "\\ud800c"}'), done())
    stream = client.ask(conversation, "odd characters")
    stored = client.message(conversation, stream.message_id)
    assert (stored["content"], stored["status"]) == ("abc", "complete")
    assert stream.text == stored["content"]
    assert stream.last_event_id == 3


def assert_error(stream: Stream, code: str) -> None:
    """The object before `done` is an error frame with this code."""
    assert stream.objects[-2]["error"] == code
    assert stream.objects[-2]["detail"]
