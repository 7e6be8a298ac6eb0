"""The events of a response: their order, and that a stream resumed after any event is the rest, from memory or from the row."""

import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from conversations.surfaces.openai.responses import RESPONSE_COLUMNS, response_body, started_body
from conversations.surfaces.openai.streams.events import PIECES_AT_A_TIME, ResponseEvents
from conversations.surfaces.openai.streams.resuming import Said, cursor_behind
from inference_proxy.protocols.tool_calls import ToolCall, write_calls
from inference_proxy.replies.frames import Cursor, Frame, frames_behind
from inference_proxy.replies.transcript import Transcript

REPLY_ID = uuid.uuid4()
# R: a piece of reasoning. T: a piece of text. C: a call of a tool, behind all of those.
SCRIPTS = ["", "T", "TTT", "RRR", "RRTT", "RTRT", "TTRR", "TRTR", "C", "CC", "TCC", "RC", "RRTTCCC", "TTRRC"]


class Reply:
    """A reply whose model says these pieces."""

    def __init__(self, script: str, status: str = "complete") -> None:
        self.transcript = Transcript()
        for place, channel in enumerate(script):
            piece = f"{channel.lower()}{place} "
            if channel == "C":
                continue
            if channel == "R":
                self.transcript.append_reasoning(piece)
            else:
                self.transcript.append(orjson.dumps({"token": piece}), piece)
        calls = [ToolCall(f"call_{number}", "weather", "{}") for number in range(script.count("C"))]
        self.transcript.append_calls(calls)
        self.transcript.close([("done", b'{"done": true}')])
        self.row: dict[str, Any] = dict.fromkeys(RESPONSE_COLUMNS) | {
            "id": REPLY_ID,
            "conversation_id": uuid.uuid4(),
            "content": self.transcript.text(),
            "reasoning": self.transcript.reasoning(),
            "tool_calls": write_calls(calls),
            "status": status,
            "created_at": datetime(2026, 11, 1, tzinfo=UTC),
        }

    def events(self, after: int = -1, *, stored: bool = False) -> list[dict[str, Any]]:
        """Return the events behind one, from memory or from the row."""
        start = cursor_behind(after, self._said(has_ended=stored))
        encoder = ResponseEvents(
            REPLY_ID,
            started=started_body(self.row),
            read_end=lambda: response_body(self.row),
            read_reasoning=lambda length: self.row["reasoning"][:length],
            after=after,
            start=start,
        )
        frames = self._stored_frames(start) if stored else self._followed_frames(start)
        body = encoder.greeting() + b"".join(map(encoder.encode, frames))
        found = [orjson.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]
        assert body.count(b"event: ") == len(found)
        return found

    def _followed_frames(self, start: Cursor) -> list[Frame]:
        frames: list[Frame] = []
        follower = self.transcript.follow(start)
        while not follower.has_ended:
            frames += follower.read(1.0)
        return frames

    def _said(self, *, has_ended: bool) -> Said:
        before_text = self.transcript.reasoning_before_text
        return Said(self.row["content"], self.row["reasoning"], before_text, has_ended=has_ended, may_lag=False)

    def _stored_frames(self, start: Cursor) -> list[Frame]:
        text, reasoning, _ = start
        rest = frames_behind(
            start,
            reasoning=self.row["reasoning"][reasoning:],
            text=self.row["content"][text:],
            reasoning_before_text=self.transcript.reasoning_before_text,
        )
        return [*rest, ("done", b'{"done": true}')]


def said(events: list[dict[str, Any]], channel: str) -> str:
    return "".join(event["delta"] for event in events if event["type"] == f"response.{channel}.delta")


def test_the_events_of_reasoning_and_text() -> None:
    events = Reply("RRT").events()
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["output_index"] for event in events if "output_index" in event] == [0] * 8 + [1] * 7
    assert events[7]["text"] == "r0 r1 "
    assert events[9]["item"] == events[-1]["response"]["output"][0]
    assert events[-2]["item"] == events[-1]["response"]["output"][1]


def test_the_response_of_the_first_events_has_not_begun() -> None:
    created = Reply("RT").events()[0]["response"]
    assert (created["status"], created["output"], created["usage"], created["completed_at"]) == ("in_progress", [], None, None)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("status", ["complete", "failed"])
def test_numbers_rise_and_items_are_where_their_index_says(script: str, status: str) -> None:
    for events in (Reply(script, status).events(), Reply(script, status).events(stored=True)):
        numbers = [event["sequence_number"] for event in events]
        assert numbers == sorted(set(numbers))
        added = [event for event in events if event["type"] == "response.output_item.added"]
        assert [event["output_index"] for event in added] == list(range(len(added)))
        output = events[-1]["response"]["output"]
        assert [event["item"]["id"] for event in added] == [item["id"] for item in output]
        for event in events:
            if event["type"].endswith(".delta"):
                item = output[event["output_index"]]
                kind = "function_call_arguments" if item["type"] == "function_call" else item["content"][0]["type"]
                assert (item["id"], kind) == (event["item_id"], event["type"].split(".")[1])


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_stream_behind_any_event_is_the_rest_of_the_stream(script: str) -> None:
    reply = Reply(script)
    events = reply.events()
    for place, event in enumerate(events):
        assert reply.events(event["sequence_number"]) == events[place + 1 :]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("stored", [False, True])
def test_a_number_that_no_event_has_continues_behind_the_last_event_before_it(script: str, stored: bool) -> None:
    reply = Reply(script)
    events = reply.events()
    numbers = [event["sequence_number"] for event in events]
    near = {number + more for number in numbers for more in (-1, 0, 1, 60)} - {-1}
    for number in sorted(near | {*range(65)} | {*range(65, numbers[-1], 97)}):
        rest = [event for event in events if event["sequence_number"] > number]
        assert reply.events(number, stored=stored) == rest, number


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_replay_from_the_row_has_the_events_of_the_first_stream(script: str) -> None:
    reply = Reply(script)
    assert reply.events(stored=True) == reply.events()


@pytest.mark.parametrize("stored", [False, True])
def test_a_long_replay_lets_other_requests_go_on(stored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    here, sleep = threading.current_thread(), time.sleep
    # Threads of other tests may sleep as well.
    monkeypatch.setattr(time, "sleep", lambda s: pauses.append(s) if threading.current_thread() is here else sleep(s))
    reply = Reply("T" * 20_000)
    deltas = [event["delta"] for event in reply.events(stored=stored) if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == reply.row["content"]
    # A follower takes a long reply in parts, and the count begins anew with each.
    assert 10 < len(pauses) <= len(deltas) // PIECES_AT_A_TIME


@pytest.mark.parametrize("script", SCRIPTS)
def test_another_process_continues_in_both_channels_exactly(script: str) -> None:
    reply = Reply(script)
    for here, there in ((False, True), (True, False)):
        events = reply.events(stored=here)
        for place, event in enumerate(events):
            both = events[: place + 1] + reply.events(event["sequence_number"], stored=there)
            assert said(both, "output_text") == reply.row["content"]
            assert said(both, "reasoning_text") == reply.row["reasoning"]
            numbers = [one["sequence_number"] for one in both]
            assert numbers == sorted(set(numbers))
            added = [one["item"]["id"] for one in both if one["type"] == "response.output_item.added"]
            ended = both[-1]["response"]
            assert added == [item["id"] for item in ended["output"]]


@pytest.mark.parametrize(
    ("status", "finish_reason", "kind", "shown"),
    [
        ("complete", "stop", "completed", "completed"),
        ("complete", "length", "incomplete", "incomplete"),
        ("stopped", None, "incomplete", "cancelled"),
        ("failed", None, "failed", "failed"),
        ("interrupted", None, "failed", "failed"),
    ],
)
def test_ends(status: str, finish_reason: str | None, kind: str, shown: str) -> None:
    reply = Reply("T", status)
    reply.row["finish_reason"] = finish_reason
    end = reply.events()[-1]
    assert (end["type"], end["response"]["status"]) == (f"response.{kind}", shown)
    details = {"reason": "max_output_tokens"} if shown == "incomplete" else None
    assert (end["response"]["incomplete_details"], end["response"]["error"] is None) == (details, shown != "failed")


@pytest.mark.parametrize("status", ["streaming", None])
def test_an_end_that_cannot_be_read_is_an_error(status: str | None) -> None:
    reply = Reply("T", status or "complete")
    encoder = ResponseEvents(
        REPLY_ID,
        started={},
        read_end=lambda: None if status is None else response_body(reply.row),
        read_reasoning=lambda length: "",
    )
    event = orjson.loads(encoder.encode(("done", b'{"done": true}')).split(b"data: ")[1])
    assert (event["type"], event["code"]) == ("error", "not_saved")
