"""A reply as a stream of chunks, as OpenAI's clients for chat completions read it."""

import logging
from collections.abc import Callable
from typing import Any

import orjson

from chatapi.database.connections import release_connections
from chatapi.service_error import ServiceError
from conversations.surfaces.openai.chat.responses import Row, finish_reason, named, usage_of
from conversations.surfaces.openai.errors import Interrupted, error_of
from inference_proxy.exceptions import FAILURES
from inference_proxy.protocols.tool_calls import ToolCall, openai_calls
from inference_proxy.replies.frames import END_ID, Frame, is_call, is_reasoning
from inference_proxy.replies.streams import SSE, StreamFormat

logger = logging.getLogger(__name__)

END = b"data: [DONE]\n\n"


def chunk_stream(row: Row, read_usage_row: Callable[[], Row] | None) -> StreamFormat:
    """Return the format for one stream of a reply, from its beginning. `row` is the reply's when it begins.

    With `read_usage_row`, which reads the row of the ended reply, the tokens are in the last chunk.
    """
    chunks = CompletionChunks(row, read_usage_row)
    return StreamFormat(SSE.media_type, chunks.greeting(), SSE.heartbeat, chunks.encode, cut=_failure(Interrupted()))


class CompletionChunks:
    """Encode the frames of one stream, in their order."""

    def __init__(self, row: Row, read_usage_row: Callable[[], Row] | None) -> None:
        self._named = named(row, "chat.completion.chunk")
        self._read_usage_row = read_usage_row
        if read_usage_row is not None:
            self._named["usage"] = None
        self._has_failed = False
        self._calls = 0
        # Of what was sent as content.
        self._said: list[str] = []
        self._is_refusal = row["finish_reason"] == "refusal"
        # For each token, so this is as short as it can be.
        self._before = {kind: self._half(kind) for kind in ("content", "reasoning_content", "refusal")}

    def greeting(self) -> bytes:
        return SSE.greeting + self._chunk({"role": "assistant", "content": "", "refusal": None})

    def encode(self, frame: Frame) -> bytes:
        event_id, payload = frame
        event: dict[str, Any] = orjson.loads(payload)
        if event_id is None or event_id == END_ID:
            return self._end(event)
        if is_call(payload):
            return self._call(ToolCall(**event["tool_call"]))
        kind, text = ("reasoning_content", event["reasoning"]) if is_reasoning(payload) else ("content", event.get("token"))
        if not text or not isinstance(text, str):
            return b""
        if kind == "content" and (self._is_refusal or event.get("refusal")):
            kind = "refusal"
        elif kind == "content":
            self._said.append(text)
        return b'%b%b},"logprobs":null,"finish_reason":null}]}\n\n' % (self._before[kind], orjson.dumps(text))

    def _call(self, call: ToolCall) -> bytes:
        index, self._calls = self._calls, self._calls + 1
        return self._chunk({"tool_calls": [{"index": index, **each} for each in openai_calls([call])]})

    def _end(self, event: dict[str, Any]) -> bytes:
        if "done" not in event:
            self._has_failed = True
            return _failure(FAILURES.get(event["error"], ServiceError)(event.get("detail")))
        if event["status"] == "interrupted" and not self._has_failed:
            return _failure(Interrupted()) + END
        if self._has_failed:
            return END
        # Frames that were merged don't say that their text is a refusal, so it came as content.
        end = {"refusal": "".join(self._said)} if event["finish_reason"] == "refusal" and self._said else {}
        return self._chunk(end, finish_reason(event["finish_reason"])) + self._usage() + END

    def _usage(self) -> bytes:
        if self._read_usage_row is None:
            return b""
        try:
            usage = usage_of(self._read_usage_row())
        except Exception:
            # An exception would cut the connection in mid-stream, and the reply is complete.
            logger.exception("reading the tokens of a reply failed")
            return b""
        finally:
            release_connections()
        return b"data: %b\n\n" % orjson.dumps({**self._named, "choices": [], "usage": usage})

    def _half(self, kind: str) -> bytes:
        beginning = orjson.dumps({**self._named, "choices": []}).removesuffix(b"]}")
        return b'data: %b{"index":0,"delta":{"%b":' % (beginning, kind.encode())

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return b"data: %b\n\n" % orjson.dumps({**self._named, "choices": [choice]})


def _failure(failure: ServiceError) -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"error": error_of(failure.status, failure.as_json())})
