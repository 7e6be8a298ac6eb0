"""The events of a response, made from the frames of a reply.

Principle: the events and their numbers follow from the reply alone (see `sequence`), so a replay has the events of the first
stream, and a resumed stream leaves out those up to the last one that the client has. It begins at the start of the reply or at
a delta (see `resuming`). Deltas are cut by the text alone (see `pieces`), and reasoning that comes after the text began is sent
at the end. The text after the last cut is held back until its piece is complete, the other channel goes on, or the reply ends.
"""

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson

from chatapi.database.connections import release_connections
from chatapi.service_error import ServiceError
from conversations.surfaces.openai.identifiers import message_form, reasoning_form
from conversations.surfaces.openai.responses import (
    as_summary,
    message_item,
    message_part,
    reasoning_item,
    reasoning_part,
    reasoning_text,
    summary_part,
)
from conversations.surfaces.openai.streams.pieces import pieces
from conversations.surfaces.openai.streams.sequence import Order, Place, Step, number_of
from inference_proxy.protocols.event_values import load_object
from inference_proxy.replies.frames import START, Cursor, Frame, cursor_of, is_call, is_reasoning

logger = logging.getLogger(__name__)

ENDS = {"completed": "response.completed", "failed": "response.failed"}
GREETING = b": stream\n"
# These take about 2 ms.
PIECES_AT_A_TIME = 256
LOST = ("not_saved", "The service could not read the end of the response. Retrieve the response later.")


class ResponseEvents:
    """Encode the frames of one reply as events.

    `started` is the response as it was when it began. `read_end` returns the ended response, or None if it can't be had.
    `read_reasoning` returns the reasoning up to a length. `after` is the number of the last event that the client has, -1 if
    it has none. `start` is where the frames begin (see `cursor_behind`).
    """

    def __init__(
        self,
        reply_id: UUID,
        *,
        started: dict[str, Any],
        read_end: Callable[[], dict[str, Any] | None],
        read_reasoning: Callable[[int], str],
        after: int = -1,
        start: Cursor = START,
    ) -> None:
        self._started = started
        self._read_end = read_end
        self._read_reasoning = read_reasoning
        self._after = after
        self._shows_summary = bool((started.get("reasoning") or {}).get("summary"))
        self._message_id = message_form(reply_id)
        self._reasoning_id = reasoning_form(reply_id)
        self._cursor = start
        self._order = Order.USUAL
        self._has_reasoning = start.reasoning > 0
        self._has_text = start.text > 0
        self._failure: tuple[str, str] | None = None
        # Text of one channel behind the cursor, whose piece is not complete.
        self._held = ""
        self._is_held_reasoning = False

    def greeting(self) -> bytes:
        """Return the beginning of the stream."""
        is_at_start = self._cursor == START
        created = self._event(Step.CREATED, "response.created", response=self._started) if is_at_start else b""
        begun = self._event(Step.IN_PROGRESS, "response.in_progress", response=self._started) if is_at_start else b""
        return GREETING + created + begun

    def encode(self, frame: Frame) -> bytes:
        event_id, payload = frame
        cursor = cursor_of(event_id)
        event = load_object(payload)
        if cursor is None:
            return self._close(event)
        if is_call(payload):
            # The end follows at once, and has the whole call.
            return b""
        if is_reasoning(payload):
            return self._think(event["reasoning"])
        text = event.get("token")
        return self._say(text) if text else b""

    def _think(self, text: str) -> bytes:
        if self._has_text:
            # It comes at the end. The row does not know where in the text it was.
            return b""
        before = b"" if self._has_reasoning else self._open_reasoning()
        self._held, self._is_held_reasoning = self._held + text, True
        return before + self._release(is_whole=False)

    def _think_late(self, text: str) -> bytes:
        """Return the deltas of the reasoning that came after the text began."""
        if self._order is Order.USUAL:
            self._order = Order.RESUMED if self._has_reasoning else Order.TEXT_FIRST
        before = b"" if self._has_reasoning else self._open_reasoning()
        self._held, self._is_held_reasoning = text, True
        return before + self._release()

    def _say(self, text: str) -> bytes:
        before = self._release() if self._is_held_reasoning else b""
        before += b"" if self._has_text else self._begin_text()
        self._held, self._is_held_reasoning = self._held + text, False
        return before + self._release(is_whole=False)

    def _release(self, *, is_whole: bool = True) -> bytes:
        """Return the deltas of the text that is held back. Unless it is whole, the last incomplete piece stays held."""
        is_message = not self._is_held_reasoning
        place = self._part_place(is_message=is_message)
        more: dict[str, Any] = {"logprobs": []} if is_message else {}
        kind = "response.output_text.delta" if is_message else "response.reasoning_text.delta"
        offset, length, deltas = self._cursor[self._is_held_reasoning], 0, []
        for count, piece in enumerate(pieces(self._held, offset, is_whole=is_whole), 1):
            if count % PIECES_AT_A_TIME == 0:
                # Let other requests go on: a replay may have thousands of pieces.
                time.sleep(0)
            length += len(piece)
            grown = offset + length
            self._cursor = self._cursor._replace(text=grown) if is_message else self._cursor._replace(reasoning=grown)
            deltas.append(self._event(Step.DELTA, kind, **place, delta=piece, **more))
        self._held = self._held[length:]
        return b"".join(deltas)

    def _begin_text(self) -> bytes:
        """Return the events between the reasoning and the text."""
        thought = b""
        if self._cursor.reasoning:
            thought = self._end_reasoning(self._read_reasoning(self._cursor.reasoning), "completed")
        self._has_text = True
        return thought + self._open_message()

    def _close(self, event: dict[str, Any]) -> bytes:
        if "done" not in event:
            self._failure = (str(event.get("error")), str(event.get("detail")))
            # The frames of a reply end with `done`, except after a failure of the stream itself.
            return self._error(*self._failure) if self._failure[0] == ServiceError.code else b""
        try:
            ended = self._read_end()
        except Exception:
            # An exception would cut the connection in mid-stream.
            logger.exception("reading the end of a response failed")
            ended = None
        finally:
            release_connections()
        if ended is None or ended["status"] == "in_progress":
            return self._error(*(self._failure or LOST))
        return self._release() + self._end(ended)

    def _end(self, ended: dict[str, Any]) -> bytes:
        items = {item["type"]: item for item in ended["output"]}
        closing = b""
        text_item, reasoning = items.get("message"), items.get("reasoning")
        if reasoning and self._has_text:
            closing += self._think_late(rest) if (rest := reasoning_text(reasoning)[self._cursor.reasoning :]) else b""
        if text_item and self._has_text:
            item = {**text_item, "id": self._message_id}
            closing += self._done(Step.MESSAGE_TEXT_DONE, item, is_message=True)
        if reasoning and self._cursor.reasoning:
            said, status = reasoning_text(reasoning), reasoning["status"]
            if not self._has_text:
                closing += self._end_reasoning(said, status)
            elif self._order is not Order.USUAL:
                item = reasoning_item(self._reasoning_id, said, status)
                closing += self._done(Step.LATE_REASONING_TEXT_DONE, item, is_message=False)
        if self._order is Order.TEXT_FIRST:
            ended = {**ended, "output": [*ended["output"][1::-1], *ended["output"][2:]]}
        for index, item in enumerate(ended["output"]):
            if item["type"] == "function_call":
                closing += self._call(index, item)
        if "function_call" in items:
            self._advance()
        kind = ENDS.get(ended["status"], "response.incomplete")
        return closing + self._event(Step.END, kind, response=ended)

    def _call(self, index: int, item: dict[str, Any]) -> bytes:
        """Return the events of a call, at two cursors behind the last one."""
        place, arguments = {"item_id": item["id"], "output_index": index}, item["arguments"]
        begun = {**item, "arguments": "", "status": "in_progress"}
        self._advance()
        events = self._event(Step.CALL, "response.output_item.added", output_index=index, item=begun)
        events += self._event(Step.CALL_MORE, "response.function_call_arguments.delta", **place, delta=arguments)
        self._advance()
        done = {**place, "name": item["name"], "arguments": arguments}
        events += self._event(Step.CALL, "response.function_call_arguments.done", **done)
        return events + self._event(Step.CALL_MORE, "response.output_item.done", output_index=index, item=item)

    def _advance(self) -> None:
        self._cursor = self._cursor._replace(text=self._cursor.text + 1)

    def _open_reasoning(self) -> bytes:
        self._has_reasoning = True
        item = reasoning_item(self._reasoning_id, None, "in_progress")
        return self._open(Step.REASONING_ADDED, item, reasoning_part(""), is_message=False)

    def _open_message(self) -> bytes:
        item = message_item(self._message_id, None, "in_progress")
        return self._open(Step.MESSAGE_ADDED, item, message_part(""), is_message=True)

    def _end_reasoning(self, text: str, status: str) -> bytes:
        return self._done(Step.REASONING_TEXT_DONE, reasoning_item(self._reasoning_id, text, status), is_message=False)

    def _open(self, step: Step, item: dict[str, Any], part: dict[str, Any], *, is_message: bool) -> bytes:
        """Return the events before the first delta of an item. They have this step and the next."""
        place = self._part_place(is_message=is_message)
        added = self._event(step, "response.output_item.added", output_index=place["output_index"], item=item)
        return added + self._event(Step(step + 1), "response.content_part.added", **place, part=part)

    def _done(self, step: Step, item: dict[str, Any], *, is_message: bool) -> bytes:
        """Return the events after the last delta of an item. They have this step and the next two."""
        place = self._part_place(is_message=is_message)
        part = item["content"][0]
        kind = part["type"]
        # Only the end of a reply says that it is a refusal: its deltas were text.
        said = {"refusal": part["refusal"]} if kind == "refusal" else {"text": part["text"]}
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        return b"".join(
            (
                self._event(step, f"response.{kind}.done", **place, **said, **more),
                self._event(Step(step + 1), "response.content_part.done", **place, part=part),
                self._event(Step(step + 2), "response.output_item.done", output_index=place["output_index"], item=item),
            )
        )

    def _part_place(self, *, is_message: bool) -> dict[str, Any]:
        """Return the fields that name the content of an item. The message is second if reasoning came before it."""
        is_text_first = self._order is Order.TEXT_FIRST
        index = int(self._has_reasoning and not is_text_first) if is_message else int(is_text_first)
        item_id = self._message_id if is_message else self._reasoning_id
        return {"item_id": item_id, "output_index": index, "content_index": 0}

    def _event(self, step: Step, kind: str, **fields: Any) -> bytes:
        number = number_of(Place(self._cursor, self._order, step))
        if number <= self._after:
            return b""
        if self._shows_summary:
            kind, fields = _in_summary(kind, fields)
        return _encode(kind, {"type": kind, "sequence_number": number, **fields})

    def _error(self, code: str, message: str) -> bytes:
        number = number_of(Place(self._cursor, self._order, Step.END))
        return _encode("error", {"type": "error", "sequence_number": number, "code": code, "message": message, "param": None})


def _in_summary(kind: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return an event of reasoning as one of its summary, which has the same text. Other events are as they were."""
    if kind.startswith("response.reasoning_text"):
        kind = kind.replace("reasoning_text", "reasoning_summary_text")
    elif fields.get("part", {}).get("type") == "reasoning_text":
        kind = kind.replace("content_part", "reasoning_summary_part")
        fields = {**fields, "part": summary_part(fields["part"]["text"])}
    elif fields.get("item", {}).get("type") == "reasoning":
        return kind, {**fields, "item": as_summary(fields["item"])}
    else:
        return kind, fields
    return kind, {"summary_index" if name == "content_index" else name: value for name, value in fields.items()}


def _encode(kind: str, event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event))
