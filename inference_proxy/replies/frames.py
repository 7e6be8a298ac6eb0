"""Frames: what a reply's stream is made of, and the cursors that say how much of it a client has.

A reply has three channels: text, reasoning, and calls of tools. A client's place in the reply is a `Cursor`: how many code
points it has of the first two, and how many calls. Calls come whole, and after all else. The numbers only grow. So the cursor
says exactly what a client lacks, wherever it reads on: in the memory of the process that makes the reply, or from the reply's
row. The row does not know in what order text and reasoning were written, but how much of the reasoning came before the text.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, Self
from uuid import UUID

import orjson

from inference_proxy.exceptions import UpstreamFailure
from inference_proxy.protocols.tool_calls import ToolCall

# PostgreSQL's `substr` takes no larger position, and no channel is longer.
MAX_OFFSET = 2**31 - 1
# The id of a reply's last frame, `done`. A client that has it has everything.
END_ID = "done"
CURSOR_FORM = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?(?:-(\d{1,2}))?", re.ASCII)
REASONING_BEGINNING = b'{"reasoning":'
CALL_BEGINNING = b'{"tool_call":'


class Cursor(NamedTuple):
    """How much a client has of each channel. As text `5` without reasoning, `5-120` with it, `5-120-1` with a call."""

    text: int = 0
    reasoning: int = 0
    calls: int = 0

    def __str__(self) -> str:
        if self.calls:
            return f"{self.text}-{self.reasoning}-{self.calls}"
        return f"{self.text}-{self.reasoning}" if self.reasoning else str(self.text)

    @classmethod
    def parse(cls, form: str) -> Self:
        """Return the cursor that has this form. Raises `ValueError`."""
        found = CURSOR_FORM.fullmatch(form)
        cursor = cls(int(found[1]), int(found[2] or 0), int(found[3] or 0)) if found else None
        if cursor is None or max(cursor) > MAX_OFFSET:
            raise ValueError("not a cursor")
        return cursor

    def covers(self, other: "Cursor") -> bool:
        """Whether a client with this cursor has all that a client with the other one has."""
        return self.text >= other.text and self.reasoning >= other.reasoning and self.calls >= other.calls

    def joined(self, other: "Cursor") -> "Cursor":
        """Return the cursor of a client that has what both have."""
        return Cursor(*map(max, self, other))


START = Cursor()

# The cursor after a frame, END_ID, or None: the `error` before the end has no id, so that a client that reads it but not the
# end goes on behind the text. A cursor without reasoning is the number of code points of text alone: most replies have no
# other, and an int costs less than a `Cursor` for every token.
FrameId = int | Cursor | str | None
# The id and one JSON object for clients.
Frame = tuple[FrameId, bytes]


def frame_id(cursor: Cursor) -> FrameId:
    return cursor if cursor.reasoning or cursor.calls else cursor.text


def cursor_of(event_id: FrameId) -> Cursor | None:
    """Return the cursor after a frame with this id, or None for the frames of the end."""
    if isinstance(event_id, int):
        return Cursor(event_id)
    return event_id if isinstance(event_id, Cursor) else None


def reasoning_payload(text: str) -> bytes:
    return orjson.dumps({"reasoning": text})


def is_reasoning(payload: bytes) -> bool:
    """Whether this object is a piece of reasoning. `reasoning_payload` makes them all."""
    return payload.startswith(REASONING_BEGINNING)


def call_payload(call: ToolCall) -> bytes:
    return orjson.dumps({"tool_call": call.as_json()})


def is_call(payload: bytes) -> bool:
    """Whether this object is a call of a tool. `call_payload` makes them all."""
    return payload.startswith(CALL_BEGINNING)


def call_frames(end: Cursor, calls: Sequence[ToolCall], *, known: int = 0) -> list[Frame]:
    """Return the frames of a reply's calls behind the first `known`. `end` says how long its text and reasoning are."""
    numbered = enumerate(calls[known:], known + 1)
    return [(end._replace(calls=number), call_payload(call)) for number, call in numbered]


def frames_behind(cursor: Cursor, *, reasoning: str, text: str, reasoning_before_text: int | None = None) -> list[Frame]:
    """Return the frames of the next pieces of both channels behind a cursor, reasoning first. An empty piece has no frame.

    Of a reply whose model went on to think after its first word, only the given length of the reasoning comes first.
    """
    first = len(reasoning) if reasoning_before_text is None else max(0, reasoning_before_text - cursor.reasoning)
    frames: list[Frame] = []
    for thought, said in ((reasoning[:first], text), (reasoning[first:], "")):
        if thought:
            cursor = cursor._replace(reasoning=cursor.reasoning + len(thought))
            frames.append((frame_id(cursor), reasoning_payload(thought)))
        if said:
            cursor = cursor._replace(text=cursor.text + len(said))
            frames.append((frame_id(cursor), orjson.dumps({"token": said})))
    return frames


def closing_frames(
    *,
    message_id: UUID,
    status: str,
    failure: UpstreamFailure | None,
    token_count: int,
    inference_time_ms: int,
    finish_reason: str,
) -> list[Frame]:
    """Return the frames that end a stream: an error where the reply failed, then `done`."""
    frames: list[Frame] = []
    if failure is not None:
        wait = {} if failure.retry_after_s is None else {"retry_after": failure.retry_after_s}
        frames.append((None, orjson.dumps({"error": failure.code, "detail": failure.text, **wait})))
    done = {
        "done": True,
        "status": status,
        "message_id": str(message_id),
        "token_count": token_count,
        "inference_time_ms": inference_time_ms,
        "finish_reason": finish_reason,
    }
    frames.append((END_ID, orjson.dumps(done)))
    return frames
