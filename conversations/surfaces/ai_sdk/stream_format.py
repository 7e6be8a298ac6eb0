"""A reply as a stream of UI messages: the events that version 5.0.0 of the AI SDK reads, which later versions read too.

Version 5.0.0 refuses events and keys that it does not know. All versions fail at a delta whose part has not been started, so
the encoder starts a part wherever the stream begins. Text and reasoning are parts of one message. A part ends where the other
channel goes on.
"""

from typing import Any
from uuid import UUID

import orjson

from inference_proxy.replies.frames import END_ID, Frame, is_reasoning
from inference_proxy.replies.streams import SSE, StreamFormat

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
INTERRUPTED = "The reply was interrupted. Regenerate it to get a whole one."
CUT = "The connection to the reply ended early. Resume the stream to read on."


def ui_message_stream(reply_id: UUID) -> StreamFormat:
    """Return the format for one stream of a reply, from the reply's beginning."""
    return StreamFormat(
        media_type=SSE.media_type,
        greeting=_event({"type": "start", "messageId": str(reply_id)}),
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


def _event(event: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(event)
