"""Response bodies of the OpenAI surface: responses, conversations, their items, models, errors."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from chatapi.api.rows import known_time
from conversations.models import Role, Status
from conversations.surfaces.function_tools import response_tools
from conversations.surfaces.openai.identifiers import (
    call_form,
    conversation_form,
    message_form,
    output_form,
    reasoning_form,
    response_form,
)
from inference_proxy.exceptions import FAILURES, UpstreamError
from inference_proxy.protocols.tool_calls import ToolCall, read_call_id, read_calls

Row = Mapping[str, Any]

# What a response is made of, read from the row of its reply.
RESPONSE_COLUMNS = (
    "id",
    "conversation_id",
    "conversation__expires_at",
    "content",
    "reasoning",
    "reasoning_before_text",
    "tool_calls",
    "status",
    "finish_reason",
    "error_code",
    "model_tag",
    "created_at",
    "token_count",
    "prompt_tokens",
    "inference_time_ms",
    "request_options",
)
ITEM_COLUMNS = ("id", "role", "content", "reasoning", "tool_calls", "status", "finish_reason", "created_at", "request_options")

INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
INTERRUPTED = "The server stopped before the response was complete. Its text so far is kept."
# Shown if no temperature was chosen: clients expect a number, and the inference service uses its own.
UNCHOSEN_TEMPERATURE = 1.0
# The same of other choices: these values change nothing.
UNCHOSEN = {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
# What the service does not offer, as OpenAI's clients expect to read it.
FIXED_FIELDS: dict[str, Any] = {
    "max_tool_calls": None,
    "truncation": "auto",
    "top_logprobs": 0,
    "service_tier": "default",
    "safety_identifier": None,
    "prompt_cache_key": None,
}


def response_body(row: Row) -> dict[str, Any]:
    """Return a response as its reply's row has it."""
    status = response_status(row)
    created_at = seconds(row["created_at"])
    return {
        **_asked(row),
        "status": status,
        "completed_at": created_at + (row["inference_time_ms"] or 0) // 1000 if status == "completed" else None,
        "error": _error_of(row) if status == "failed" else None,
        "incomplete_details": {"reason": INCOMPLETE_REASONS[row["finish_reason"]]} if status == "incomplete" else None,
        "output": reply_items(row),
        "usage": None if status == "in_progress" else _usage_of(row),
    }


def started_body(row: Row) -> dict[str, Any]:
    """Return a response as it was when it began."""
    beginning = {"status": "in_progress", "completed_at": None, "error": None, "incomplete_details": None}
    return {**_asked(row), **beginning, "output": [], "usage": None}


def response_status(row: Row) -> str:
    if row["status"] == Status.COMPLETE:
        return "incomplete" if row["finish_reason"] in INCOMPLETE_REASONS else "completed"
    return {Status.STREAMING.value: "in_progress", Status.STOPPED.value: "cancelled"}.get(row["status"], "failed")


def seconds(time: datetime | None) -> int:
    return int(known_time(time).timestamp())


def _asked(row: Row) -> dict[str, Any]:
    """Return what is known of a response when it begins."""
    options = row["request_options"] if isinstance(row["request_options"], dict) else {}
    previous = _kept(options, "previous_response_id", str)
    summary, effort = _kept(options, "reasoning_summary", str), _kept(options, "reasoning_effort", str)
    temperature = _kept(options, "temperature", int, float)
    if temperature is None:
        temperature = settings.INFERENCE_DEFAULT_TEMPERATURE
    return {
        "id": response_form(row["id"]),
        "object": "response",
        "created_at": seconds(row["created_at"]),
        "model": row["model_tag"] or "default",
        "conversation": {"id": conversation_form(row["conversation_id"])},
        "previous_response_id": _form_of_previous(previous),
        "instructions": _kept(options, "instructions", str),
        "metadata": _kept(options, "metadata", dict) or {},
        "background": options.get("background") is True,
        "store": row["conversation__expires_at"] is None,
        "temperature": UNCHOSEN_TEMPERATURE if temperature is None else temperature,
        "max_output_tokens": _kept(options, "max_output_tokens", int),
        **FIXED_FIELDS,
        "reasoning": {"effort": effort, "summary": summary} if summary or effort else None,
        **response_tools(options.get("tools")),
        **_sampling_of(options),
    }


def _sampling_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the choices that a response shows, with those of the request."""
    chosen = {name: _kept(options, name, int, float) for name in UNCHOSEN}
    wanted = _kept(options, "response_format", dict) or {"type": "text"}
    schema = wanted.get("json_schema")
    if isinstance(schema, dict):
        # As clients read it, with null for what the request left out.
        wanted = {"description": None, "strict": None, **schema, "type": "json_schema"}
    shown = {name: UNCHOSEN[name] if value is None else value for name, value in chosen.items()}
    return {**shown, "text": {"format": wanted}}


def _kept(options: dict[str, Any], name: str, *kinds: type) -> Any:
    """Return an option that was kept with a reply, or None if it has another form: an imported archive may bring anything."""
    value = options.get(name)
    return value if isinstance(value, kinds) and not isinstance(value, bool) else None


def _form_of_previous(kept: str | None) -> str | None:
    try:
        return response_form(UUID(kept)) if kept else None
    except ValueError:
        return None


def _error_of(row: Row) -> dict[str, Any]:
    if row["status"] == Status.INTERRUPTED:
        return {"code": "server_error", "message": INTERRUPTED, "type": "interrupted"}
    failure = FAILURES.get(row["error_code"] or "", UpstreamError)
    return {"code": "server_error", "message": failure.detail, "type": failure.code}


def _usage_of(row: Row) -> dict[str, Any]:
    """Return the tokens of a response. What the inference service does not count is 0."""
    read, written = row["prompt_tokens"] or 0, row["token_count"] or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


# Items


def reply_items(row: Row) -> list[dict[str, Any]]:
    """Return the output items of a reply: its reasoning and its text, where it has them."""
    status = response_status(row)
    of_item = status if status in ("in_progress", "completed") else "incomplete"
    items = []
    if row["reasoning"]:
        # Once there is text, the reasoning has ended.
        said = "completed" if row["content"] else of_item
        thought = reasoning_item(reasoning_form(row["id"]), row["reasoning"], said)
        options = row["request_options"] if isinstance(row["request_options"], dict) else {}
        items.append(as_summary(thought) if _kept(options, "reasoning_summary", str) else thought)
    if row["content"]:
        is_refusal = row["finish_reason"] == "refusal"
        items.append(message_item(message_form(row["id"]), row["content"], of_item, is_refusal=is_refusal))
    items += [call_item(row["id"], number, call) for number, call in enumerate(read_calls(row["tool_calls"]))]
    return items


def items_of(row: Row) -> list[dict[str, Any]]:
    """Return the items of a message in a conversation."""
    if row["role"] == Role.ASSISTANT:
        return reply_items(row)
    if call_id := read_call_id(row["tool_calls"]):
        return [
            {
                "id": output_form(row["id"]),
                "type": "function_call_output",
                "call_id": call_id,
                "output": row["content"],
                "status": "completed",
            }
        ]
    content = [{"type": "input_text", "text": row["content"]}]
    return [{"id": message_form(row["id"]), "type": "message", "role": row["role"], "status": "completed", "content": content}]


def message_item(item_id: str, text: str | None, status: str, *, is_refusal: bool = False) -> dict[str, Any]:
    """Return the item of an answer. None: its content has not begun."""
    content = [] if text is None else [refusal_part(text) if is_refusal else message_part(text)]
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def call_item(reply_id: UUID, number: int, call: ToolCall) -> dict[str, Any]:
    """Return the item of a reply's call, of which there are whole ones only."""
    return {
        "id": call_form(reply_id, number),
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": "completed",
    }


def reasoning_item(item_id: str, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [reasoning_part(text)]
    return {"id": item_id, "type": "reasoning", "status": status, "summary": [], "content": content}


def as_summary(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of reasoning with its text as the summary, for clients that read only that."""
    return {**item, "summary": [summary_part(part["text"]) for part in item["content"]], "content": []}


def reasoning_text(item: dict[str, Any]) -> str:
    """Return the text of an item of reasoning in either form."""
    return str((item["content"] or item["summary"])[0]["text"])


def summary_part(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def message_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


def reasoning_part(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def item_list(items: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    first, last = (items[0]["id"], items[-1]["id"]) if items else ("", "")
    return {"object": "list", "data": list(items), "first_id": first, "last_id": last, "has_more": has_more}


# Conversations and models


def conversation_body(row: Row) -> dict[str, Any]:
    return {
        "id": conversation_form(row["id"]),
        "object": "conversation",
        "created_at": seconds(row["created_at"]),
        "metadata": row["metadata"] or {},
    }


def model_body(model_tag: str) -> dict[str, Any]:
    # The inference service does not say since when it has a model.
    return {"id": model_tag, "object": "model", "created": 0, "owned_by": "chat-api"}
