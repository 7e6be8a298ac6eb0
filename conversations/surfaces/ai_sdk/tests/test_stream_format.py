"""The events that a reply's frames become."""

import json
from uuid import UUID

import orjson
import pytest

from conversations.surfaces.ai_sdk.stream_format import INTERRUPTED, UIMessageEncoder, ui_message_stream
from inference_proxy.replies.frames import END_ID, Cursor, Frame, reasoning_payload

REPLY = UUID("01920000-0000-7000-8000-000000000001")
# What version 5.0.0 accepts of the events that this service sends; it refuses other keys.
KEYS = {
    "start": {"type", "messageId", "messageMetadata"},
    **{f"{kind}-{what}": {"type", "id"} for kind in ("text", "reasoning") for what in ("start", "end")},
    **{f"{kind}-delta": {"type", "id", "delta"} for kind in ("text", "reasoning")},
    "error": {"type", "errorText"},
    "finish": {"type", "messageMetadata"},
}


def text(token: object, **more: object) -> Frame:
    return 1, orjson.dumps({"token": token, "gpu": 0, **more})


def reasoning(thought: str) -> Frame:
    return Cursor(0, 1), reasoning_payload(thought)


def end(status: str = "complete", finish_reason: str = "stop") -> Frame:
    return END_ID, orjson.dumps({"done": True, "status": status, "message_id": str(REPLY), "finish_reason": finish_reason})


def failure(detail: str = "It failed.") -> Frame:
    return None, orjson.dumps({"error": "upstream_error", "detail": detail})


def events(*frames: Frame) -> list:
    encoder = UIMessageEncoder()
    blocks = b"".join(map(encoder.encode, frames)).decode().split("\n\n")
    assert blocks.pop() == ""
    lines = [block.removeprefix("data: ") for block in blocks]
    read = [line if line == "[DONE]" else json.loads(line) for line in lines]
    for event in read:
        assert event == "[DONE]" or set(event) == KEYS[event["type"]] - {"messageMetadata"} | (
            {"messageMetadata"} & set(event)
        ), event
    return read


def short(*frames: Frame) -> list[str]:
    """Each event as its type, its part and its text."""
    return [
        event if event == "[DONE]" else " ".join(filter(None, (event["type"], event.get("id"), event.get("delta"))))
        for event in events(*frames)
    ]


def test_a_short_reply() -> None:
    assert short(text("Hello"), text(" you"), end()) == [
        "text-start 0",
        "text-delta 0 Hello",
        "text-delta 0  you",
        "text-end 0",
        "finish",
        "[DONE]",
    ]


def test_the_stream_starts_with_the_replys_id() -> None:
    greeting = ui_message_stream(REPLY).greeting
    assert greeting == b'data: {"type":"start","messageId":"01920000-0000-7000-8000-000000000001"}\n\n'


def test_a_part_ends_where_the_other_channel_goes_on() -> None:
    assert short(reasoning("Hm"), reasoning("m"), text("a"), reasoning("but"), text("b"), end())[:-2] == [
        "reasoning-start 0",
        "reasoning-delta 0 Hm",
        "reasoning-delta 0 m",
        "reasoning-end 0",
        "text-start 1",
        "text-delta 1 a",
        "text-end 1",
        "reasoning-start 2",
        "reasoning-delta 2 but",
        "reasoning-end 2",
        "text-start 3",
        "text-delta 3 b",
        "text-end 3",
    ]


@pytest.mark.parametrize("token", ["", None, 7, ["a"]])
def test_a_frame_without_text_is_no_event(token: object) -> None:
    assert events(text(token), (0, b'{"gpu":1}')) == []


@pytest.mark.parametrize("token", ['"', "\\", '\\"', "\n\n", "data: x\r\n", "\u2028", "🎈", "token", '{"token":"x"}', "ü"])
def test_every_text_arrives_as_it_is(token: str) -> None:
    assert [event["delta"] for event in events(text(token), text(token)) if event["type"] == "text-delta"] == [token] * 2


def test_the_fields_of_the_inference_service_are_left_out() -> None:
    assert events(text("a", id="x", type="y", delta="z"))[1] == {"type": "text-delta", "id": "0", "delta": "a"}


def test_the_end_says_how_the_reply_ended() -> None:
    for status in ("complete", "stopped"):
        *_, finish, last = events(text("a"), end(status, "length"))
        assert finish == {"type": "finish", "messageMetadata": {"status": status, "finishReason": "length"}}
        assert last == "[DONE]"


def test_a_failure_ends_the_part_first() -> None:
    found = events(text("a"), failure(), end("failed", ""))
    assert [event if event == "[DONE]" else event["type"] for event in found[2:]] == ["text-end", "error", "finish", "[DONE]"]
    assert found[3]["errorText"] == "It failed."


def test_an_interrupted_reply_is_an_error_once() -> None:
    errors = [event["errorText"] for event in events(text("a"), end("interrupted", ""))[:-1] if event["type"] == "error"]
    assert errors == [INTERRUPTED]
    both = events(text("a"), failure("Not saved."), end("interrupted", ""))
    assert [event["errorText"] for event in both[:-1] if event["type"] == "error"] == ["Not saved."]


def test_a_reply_without_text_has_no_part() -> None:
    assert short(end("stopped", "")) == ["finish", "[DONE]"]
