"""The body of a chat completion. Fields that are not named here are ignored."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta
from rest_framework.exceptions import ValidationError

from conversations.surfaces.function_tools import TOOL_FIELDS, ToolsBody, check_output, read_call_id, read_tool_calls
from conversations.surfaces.openai.requests import (
    MOST_KNOWN_ITEMS,
    MOST_TOKENS,
    ROLES,
    STORE,
    TEXT_PART,
    InputMessage,
    MaxTokens,
    Metadata,
    Model,
    check_lengths,
    refuse_nulls,
)
from conversations.surfaces.request_fields import choices_except, not_supported
from conversations.surfaces.sampling_fields import ONLY_OPENAI, ResponseFormat
from conversations.visible_text import is_blank
from inference_proxy.protocols.base import OPENAI_FIELDS, Sampling

# What parts of a content may be, and the field with their text.
PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}

_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": list(ROLES)},
        "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}, {"type": "null"}]},
    },
    "required": ["role"],
}


def _read_messages(given: Any) -> list[InputMessage]:
    if not isinstance(given, list):
        raise ValidationError("Must be a list of messages.")
    if len(given) > MOST_KNOWN_ITEMS:
        raise ValidationError(f"Must have at most {MOST_KNOWN_ITEMS} messages.")
    messages = [_read_message(message) for message in given]
    if not messages or messages[-1].role not in ("user", "tool"):
        raise ValidationError("Must end with a message of the role user, or with the output of a tool.")
    if messages[-1].role == "user" and is_blank(messages[-1].content):
        raise ValidationError("The last message must not be blank.")
    check_lengths(message.content for message in messages if message.role not in ("assistant", "tool"))
    return messages


def _read_stream_options(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or not isinstance(given.get("include_usage", False), bool | None):
        raise ValidationError("Must be an object, and its include_usage true or false.")
    return given


# What was said, oldest first. The last message is the question. An answer may be as long as the model made it.
ChatMessages = Annotated[
    list[InputMessage],
    Meta(
        extra_json_schema={"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": MOST_KNOWN_ITEMS},
        extra={"read": _read_messages},
    ),
]
# `include_usage: true`: the stream ends with a chunk that has the tokens.
StreamOptions = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
        extra={"read": _read_stream_options},
    ),
]


class CompletionCreateBody(ToolsBody, kw_only=True):
    ref_name: ClassVar = "OpenAICompletionCreate"
    unsupported: ClassVar = choices_except(
        "model", "temperature", "max_tokens", "max_completion_tokens", *OPENAI_FIELDS, *TOOL_FIELDS
    )

    messages: ChatMessages
    model: Annotated[Model | None, Meta(description="Default: the service's model.")] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_completion_tokens: Annotated[MaxTokens | None, Meta(description=MOST_TOKENS)] = None
    max_tokens: Annotated[MaxTokens | None, Meta(description="The older name of max_completion_tokens.")] = None
    response_format: Annotated[ResponseFormat | None, Meta(description=ONLY_OPENAI)] = None
    store: Annotated[bool | None, Meta(description=STORE)] = None
    metadata: Metadata | None = None
    audio: Annotated[Any, not_supported()] = None
    web_search_options: Annotated[Any, not_supported()] = None

    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            **self.openai_fields(),
            tools=self.offered(),
        )


def _read_message(message: Any) -> InputMessage:
    if not isinstance(message, dict):
        raise ValidationError("A message must be an object.")
    role = message.get("role")
    if not isinstance(role, str) or role not in (*ROLES, "tool"):
        raise ValidationError(f"The role of a message must be one of {', '.join(ROLES)}, tool.")
    if message.get("function_call") or message.get("audio"):
        raise ValidationError("Only messages with text and tool_calls are supported.")
    calls = read_tool_calls(message["tool_calls"]) if message.get("tool_calls") and role == "assistant" else ()
    content = message.get("content")
    if content is None and role == "assistant":
        # An answer that was stopped before its first word.
        content = ""
    if isinstance(content, list):
        content = "".join(map(_read_part, content))
    if not isinstance(content, str):
        raise ValidationError("The content of a message must be a string or a list of text parts.")
    refuse_nulls(content)
    if role == "tool":
        return InputMessage("tool", check_output(content), call_id=read_call_id(message.get("tool_call_id")))
    return InputMessage(ROLES[role], content, calls)


def _read_part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get(PARTS[kind]) if isinstance(kind, str) and kind in PARTS else None
    if not isinstance(text, str):
        raise ValidationError("Only text parts are supported.")
    return text
