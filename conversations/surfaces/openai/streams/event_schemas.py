"""The objects in the streams of /v1, for the OpenAPI file: the events of a response, and the chunks of a chat completion."""

from typing import Any

from conversations.surfaces.openapi import add_events

TEXT = {"type": "string"}
PLACE = {"item_id": TEXT, "output_index": {"type": "integer"}, "content_index": {"type": "integer"}}
SUMMARY_PLACE = {"item_id": TEXT, "output_index": {"type": "integer"}, "summary_index": {"type": "integer"}}
ITEM = {"output_index": {"type": "integer"}, "item": {"$ref": "#/components/schemas/OpenAIItem"}}
PART = {**PLACE, "part": {"$ref": "#/components/schemas/OpenAIContent"}}
RESPONSE = {"response": {"$ref": "#/components/schemas/OpenAIResponse"}}
LOGPROBS = {"logprobs": {"type": "array", "items": {"type": "object"}}}


def _event(kinds: list[str], description: str, fields: dict[str, Any]) -> dict[str, Any]:
    named = {
        "type": {"type": "string", "enum": kinds},
        "sequence_number": {"type": "integer", "description": "Rises strictly, with gaps."},
    }
    properties = {**named, **fields}
    return {"type": "object", "description": description, "properties": properties, "required": list(properties)}


EVENTS = {
    "OpenAIResponseEvent": _event(
        [f"response.{kind}" for kind in ("created", "in_progress", "completed", "incomplete", "failed")],
        "The response begins or ends. `response.incomplete` is also the end of a cancelled response.",
        RESPONSE,
    ),
    "OpenAIItemEvent": _event(
        ["response.output_item.added", "response.output_item.done"], "An item of the output begins or is whole.", ITEM
    ),
    "OpenAIPartEvent": _event(
        ["response.content_part.added", "response.content_part.done"], "A part of an item begins or is whole.", PART
    ),
    "OpenAITextDeltaEvent": _event(
        ["response.output_text.delta"], "A piece of the text.", {**PLACE, "delta": TEXT, **LOGPROBS}
    ),
    "OpenAITextDoneEvent": _event(["response.output_text.done"], "The text is whole.", {**PLACE, "text": TEXT, **LOGPROBS}),
    "OpenAIRefusalDoneEvent": _event(
        ["response.refusal.done"], "The text was a refusal. Its deltas came as text.", {**PLACE, "refusal": TEXT}
    ),
    "OpenAIReasoningDeltaEvent": _event(
        ["response.reasoning_text.delta"], "A piece of what the model thinks.", {**PLACE, "delta": TEXT}
    ),
    "OpenAIReasoningDoneEvent": _event(["response.reasoning_text.done"], "The reasoning is whole.", {**PLACE, "text": TEXT}),
    "OpenAISummaryPartEvent": _event(
        ["response.reasoning_summary_part.added", "response.reasoning_summary_part.done"],
        "The reasoning as a summary begins or is whole.",
        {**SUMMARY_PLACE, "part": {"type": "object"}},
    ),
    "OpenAISummaryDeltaEvent": _event(
        ["response.reasoning_summary_text.delta"], "A piece of the reasoning as a summary.", {**SUMMARY_PLACE, "delta": TEXT}
    ),
    "OpenAISummaryDoneEvent": _event(
        ["response.reasoning_summary_text.done"], "The summary is whole.", {**SUMMARY_PLACE, "text": TEXT}
    ),
    "OpenAIArgumentsDeltaEvent": _event(
        ["response.function_call_arguments.delta"],
        "The arguments of a call. They come whole.",
        {"item_id": TEXT, "output_index": {"type": "integer"}, "delta": TEXT},
    ),
    "OpenAIArgumentsDoneEvent": _event(
        ["response.function_call_arguments.done"],
        "The arguments of a call.",
        {"item_id": TEXT, "output_index": {"type": "integer"}, "name": TEXT, "arguments": TEXT},
    ),
    "OpenAIErrorEvent": _event(
        ["error"],
        "The stream failed, and perhaps not the response: retrieve it.",
        {"code": TEXT, "message": TEXT, "param": {"type": ["string", "null"]}},
    ),
}
CHUNK_CHOICE = {
    "type": "object",
    "properties": {
        "index": {"type": "integer"},
        "delta": {
            "type": "object",
            "properties": {
                "role": TEXT,
                "content": TEXT,
                "reasoning_content": {"type": "string", "description": "What the model thinks."},
                "refusal": {"type": ["string", "null"]},
                "tool_calls": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "A call that the client is to run.",
                },
            },
        },
        "logprobs": {"type": "null"},
        "finish_reason": {"type": ["string", "null"]},
    },
    "required": ["index", "delta", "finish_reason"],
}
CHUNKS = {
    "OpenAIChunk": {
        "type": "object",
        "description": "A piece of the reply. With `stream_options.include_usage`, the last one has no choice and the usage.",
        "properties": {
            "id": TEXT,
            "object": {"type": "string", "enum": ["chat.completion.chunk"]},
            "created": {"type": "integer"},
            "model": TEXT,
            "choices": {"type": "array", "items": CHUNK_CHOICE},
            "usage": {"oneOf": [{"$ref": "#/components/schemas/OpenAICompletionUsage"}, {"type": "null"}]},
        },
        "required": ["id", "object", "created", "model", "choices"],
    },
    "OpenAIChunkError": {
        "type": "object",
        "description": "The reply failed.",
        "properties": {"error": {"$ref": "#/components/schemas/OpenAIErrorDetail"}},
        "required": ["error"],
    },
}
RESPONSE_STREAM_EVENT = add_events(
    "OpenAIResponseStreamEvent",
    "The `data` of one event of the stream; `event` is its `type`. Comments (single lines) come first and while the stream is "
    "silent. The last object has the type `response.completed`, `response.incomplete`, `response.failed` or `error`.",
    EVENTS,
)
CHUNK_STREAM_EVENT = add_events(
    "OpenAIChunkStreamEvent",
    "The `data` of one event of the stream. Comments (single lines) come first and while the stream is silent. The last event "
    "is not an object but `[DONE]`.",
    CHUNKS,
)
