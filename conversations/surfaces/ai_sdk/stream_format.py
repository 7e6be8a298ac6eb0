"""A reply as a stream of UI messages: the events that version 5.0.0 of the AI SDK reads, which later versions read too.

Version 5.0.0 refuses events and keys that it does not know. All versions fail at a delta whose part has not been started, so
the encoder starts a part wherever the stream begins. Text, reasoning and calls of tools are parts of one message. A part ends
where another channel goes on.

The SDK writes the reply to outputs of tools into the message with the calls, if the stream has the id of that message. A step
begins there: otherwise the SDK would take the outputs for new ones, and send them again. A stream that is resumed repeats the
message from its start. Calls that have their outputs are marked as run by the service, so the page does not run them again.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from conversations.surfaces.ai_sdk.responses import PartSchema
from conversations.surfaces.ai_sdk.tool_parts import AVAILABLE, FAILED, call_input
from inference_proxy.replies.frames import END_ID, Frame, is_call, is_reasoning
from inference_proxy.replies.streams import SSE, StreamFormat

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
INTERRUPTED = "The reply was interrupted. Regenerate it to get a whole one."
CUT = "The connection to the reply ended early. Resume the stream to read on."


def ui_message_stream(reply_id: UUID, *, goes_on_in: str | None = None, repeats: Sequence[PartSchema] = ()) -> StreamFormat:
    """Return the format for one stream of a reply, from the reply's beginning.

    A reply to outputs of tools goes on in the message with this id. `repeats` are the parts of it that the client may not have.
    """
    greeting = _event({"type": "start", "messageId": goes_on_in or str(reply_id)})
    if goes_on_in is not None:
        greeting += b"".join(_repeated(part, f"earlier-{place}") for place, part in enumerate(repeats))
        greeting += _event({"type": "start-step"})
    return StreamFormat(
        media_type=SSE.media_type,
        greeting=greeting,
        heartbeat=SSE.heartbeat,
        encode=UIMessageEncoder().encode,
        cut=_event({"type": "error", "errorText": CUT}),
    )


class UIMessageEncoder:
    """Encode the frames of one stream, in their order."""

    def __init__(self) -> None:
        self._kind = ""
        self._parts = 0
        self._has_failed = False
        self._delta = b""

    def encode(self, frame: Frame) -> bytes:
        event_id, payload = frame
        event: dict[str, Any] = orjson.loads(payload)
        if event_id is None or event_id == END_ID:
            return self._end(event)
        if is_call(payload):
            return self._end_part() + _call_events(**event["tool_call"])
        kind, text = ("reasoning", event["reasoning"]) if is_reasoning(payload) else ("text", event.get("token"))
        if not text or not isinstance(text, str):
            return b""
        if kind == self._kind:
            # For each token, so this is as short as it can be.
            return b"%b%b}\n\n" % (self._delta, orjson.dumps(text))
        return b"%b%b%b}\n\n" % (self._start_part(kind), self._delta, orjson.dumps(text))

    def _start_part(self, kind: str) -> bytes:
        ended = self._end_part()
        part_id = str(self._parts)
        self._parts += 1
        self._kind = kind
        self._delta = b'data: {"type":"%b-delta","id":"%b","delta":' % (kind.encode(), part_id.encode())
        return ended + _event({"type": f"{kind}-start", "id": part_id})

    def _end_part(self) -> bytes:
        if not self._kind:
            return b""
        ended = _event({"type": f"{self._kind}-end", "id": str(self._parts - 1)})
        self._kind = ""
        return ended

    def _end(self, event: dict[str, Any]) -> bytes:
        ended = self._end_part()
        if not event.get("done"):
            self._has_failed = True
            return ended + _event({"type": "error", "errorText": event["detail"]})
        if event["status"] == "interrupted" and not self._has_failed:
            ended += _event({"type": "error", "errorText": INTERRUPTED})
        metadata = {"status": event["status"], "finishReason": event["finish_reason"]}
        return ended + _event({"type": "finish", "messageMetadata": metadata}) + b"data: [DONE]\n\n"


def _call_events(id: str, name: str, arguments: str) -> bytes:  # noqa: A002  # names of the frame
    call = {"toolCallId": id, "toolName": name}
    return (
        _event({"type": "tool-input-start", **call})
        + _event({"type": "tool-input-delta", "toolCallId": id, "inputTextDelta": arguments})
        + _event({"type": "tool-input-available", **call, "input": call_input(arguments)})
    )


def _repeated(part: PartSchema, part_id: str) -> bytes:
    """Return the events of a whole part."""
    if part.type == "step-start":
        return _event({"type": "start-step"})
    if not isinstance(part.tool_call_id, str):
        delta = {"type": f"{part.type}-delta", "id": part_id, "delta": part.text}
        started, ended = ({"type": f"{part.type}-{what}", "id": part_id} for what in ("start", "end"))
        return _event(started) + (_event(delta) if part.text else b"") + _event(ended)
    name = part.type.removeprefix("tool-")
    call = {"toolCallId": part.tool_call_id, "toolName": name, "providerExecuted": True}
    events = [{"type": "tool-input-start", **call}, {"type": "tool-input-available", **call, "input": part.input}]
    if part.state == AVAILABLE:
        events.append({"type": "tool-output-available", "toolCallId": part.tool_call_id, "output": part.output})
    if part.state == FAILED:
        events.append({"type": "tool-output-error", "toolCallId": part.tool_call_id, "errorText": part.error_text})
    return b"".join(map(_event, events))


def _event(event: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(event)
