"""Chat completions and their chunks."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from conversations.surfaces.openai.identifiers import completion_form
from conversations.surfaces.openai.responses import seconds
from inference_proxy.protocols.tool_calls import openai_calls, read_calls

Row = Mapping[str, Any]

# Those of ours that OpenAI's clients know. A reply that was stopped, or has no reason, ended with `stop`.
FINISH_REASONS = {"length": "length", "content_filter": "content_filter", "tool_calls": "tool_calls"}


def completion_body(row: Row) -> dict[str, Any]:
    """Return a chat completion as its reply's row has it."""
    is_refusal = row["finish_reason"] == "refusal" and bool(row["content"])
    calls = read_calls(row["tool_calls"])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if is_refusal or (calls and not row["content"]) else row["content"],
        "refusal": row["content"] if is_refusal else None,
    }
    if calls:
        message["tool_calls"] = openai_calls(calls)
    if row["reasoning"]:
        message["reasoning_content"] = row["reasoning"]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(row["finish_reason"])}
    return {**named(row, "chat.completion"), "choices": [choice], "usage": usage_of(row)}


def named(row: Row, kind: str) -> dict[str, Any]:
    """Return the fields that a completion and its chunks share."""
    return {
        "id": completion_form(row["id"]),
        "object": kind,
        "created": seconds(row["created_at"]),
        "model": row["model_tag"] or "default",
        "system_fingerprint": None,
        "service_tier": "default",
    }


def finish_reason(ours: str | None) -> str:
    return FINISH_REASONS.get(ours or "", "stop")


def usage_of(row: Row) -> dict[str, int]:
    """Return the tokens of a completion. What the inference service does not count is 0."""
    read, written = row["prompt_tokens"] or 0, row["token_count"] or 0
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def conversation_header(conversation_id: UUID) -> dict[str, str]:
    """Return the header that names the conversation, in the form that every surface takes."""
    return {"X-Conversation-Id": str(conversation_id)}


# Descriptions for the OpenAPI file


class CompletionMessageSchema(Struct):
    ref_name: ClassVar = "OpenAICompletionMessage"

    role: Annotated[str, Meta(description="Always `assistant`.")]
    content: Annotated[str | None, Meta(description="null if the model refused, or only called tools.")]
    refusal: Annotated[str | None, Meta(description="What the model said when it refused to answer.")]
    tool_calls: Annotated[list[Any], Meta(description="What the client is to run.")] | UnsetType = UNSET
    reasoning_content: Annotated[str, Meta(description="What the model thought.")] | UnsetType = UNSET


class CompletionChoiceSchema(Struct):
    ref_name: ClassVar = "OpenAICompletionChoice"

    index: Annotated[int, Meta(description="Always 0.")]
    message: CompletionMessageSchema
    logprobs: Annotated[Any, Meta(description="Always null.")]
    finish_reason: Annotated[str, Meta(description="`stop`, `length`, `content_filter` or `tool_calls`.")]


class CompletionUsageSchema(Struct):
    ref_name: ClassVar = "OpenAICompletionUsage"

    prompt_tokens: Annotated[int, Meta(ge=0, description="0 where the inference service does not count them.")]
    completion_tokens: Annotated[int, Meta(ge=0)]
    total_tokens: Annotated[int, Meta(ge=0)]


class CompletionSchema(Struct):
    ref_name: ClassVar = "OpenAICompletion"

    id: Annotated[str, Meta(description="`chatcmpl-` and the hex digits of the reply's id.")]
    object: Annotated[str, Meta(description="Always `chat.completion`.")]
    created: Annotated[int, Meta(description="Seconds since 1970.")]
    model: str
    system_fingerprint: Annotated[str | None, Meta(description="Always null.")]
    service_tier: Annotated[str, Meta(description="Always `default`.")]
    choices: list[CompletionChoiceSchema]
    usage: CompletionUsageSchema
