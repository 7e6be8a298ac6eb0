"""The body of a chat completion. Fields that are not named here are ignored."""

from typing import Any, ClassVar

import orjson
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from conversations.surfaces.openai.requests import (
    MOST_KNOWN_ITEMS,
    ROLES,
    TEXT_PART,
    TOOL_FIELDS,
    InputMessage,
    MaxTokensField,
    MetadataField,
    ModelField,
    check_lengths,
    refuse_nulls,
)
from conversations.surfaces.openai.tools import (
    ToolChoiceField,
    ToolsField,
    check_output,
    offered,
    read_call_id,
    read_tool_calls,
)
from conversations.surfaces.request_fields import (
    StrictBooleanField,
    StrictFloatField,
    UnsupportedField,
    choices_except,
)
from conversations.surfaces.sampling_fields import ONLY_OPENAI, OpenAIFieldsSerializer, ResponseFormatField
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


@extend_schema_field({"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": MOST_KNOWN_ITEMS})
class ChatMessagesField(serializers.Field[Any, Any, Any, Any]):
    """What was said, oldest first. The last message is the question. An answer may be as long as the model made it."""

    def to_internal_value(self, data: Any) -> list[InputMessage]:
        if not isinstance(data, list):
            raise serializers.ValidationError("Must be a list of messages.")
        if len(data) > MOST_KNOWN_ITEMS:
            raise serializers.ValidationError(f"Must have at most {MOST_KNOWN_ITEMS} messages.")
        messages = [_read_message(message) for message in data]
        if not messages or messages[-1].role not in ("user", "tool"):
            raise serializers.ValidationError("Must end with a message of the role user, or with the output of a tool.")
        if messages[-1].role == "user" and is_blank(messages[-1].content):
            raise serializers.ValidationError("The last message must not be blank.")
        check_lengths(message.content for message in messages if message.role not in ("assistant", "tool"))
        return messages


@extend_schema_field({"type": "object", "properties": {"include_usage": {"type": "boolean"}}})
class StreamOptionsField(serializers.Field[Any, Any, Any, Any]):
    """`include_usage: true`: the stream ends with a chunk that has the tokens."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict) or not isinstance(data.get("include_usage", False), bool | None):
            raise serializers.ValidationError("Must be an object, and its include_usage true or false.")
        return data


class CompletionCreateSerializer(OpenAIFieldsSerializer):
    unsupported: ClassVar = choices_except(
        "model", "temperature", "max_tokens", "max_completion_tokens", *OPENAI_FIELDS, *TOOL_FIELDS
    )

    messages = ChatMessagesField()
    model = ModelField("Default: the service's model.")
    stream = StrictBooleanField(required=False, allow_null=True)
    stream_options = StreamOptionsField(required=False, allow_null=True)
    temperature = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=2)
    max_completion_tokens = MaxTokensField()
    max_tokens = MaxTokensField("The older name of max_completion_tokens.")
    tools = ToolsField(required=False, allow_null=True)
    tool_choice = ToolChoiceField(required=False, allow_null=True)
    parallel_tool_calls = StrictBooleanField(required=False, allow_null=True)
    response_format = ResponseFormatField(required=False, allow_null=True, help_text=ONLY_OPENAI)
    store = StrictBooleanField(
        required=False, allow_null=True, help_text="false: a new conversation is temporary, for 24 hours after its last turn."
    )
    metadata = MetadataField(required=False)
    audio = UnsupportedField()
    web_search_options = UnsupportedField()

    class Meta:
        ref_name = "OpenAICompletionCreate"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        offered(attrs)
        self._written = orjson.dumps(self.initial_data, option=orjson.OPT_SORT_KEYS)
        return attrs

    def take_written(self) -> bytes:
        """Return the whole body, the same for equal bodies. Only once: it is not kept for as long as the reply takes."""
        written, self._written = self._written, b""
        return written

    def sampling(self) -> Sampling:
        asked = self.validated_data
        return Sampling(
            temperature=asked.get("temperature"),
            max_tokens=asked.get("max_completion_tokens") or asked.get("max_tokens"),
            **self.openai_fields(),
            tools=offered(asked),
        )


def _read_message(message: Any) -> InputMessage:
    if not isinstance(message, dict):
        raise serializers.ValidationError("A message must be an object.")
    role = message.get("role")
    if not isinstance(role, str) or role not in (*ROLES, "tool"):
        raise serializers.ValidationError(f"The role of a message must be one of {', '.join(ROLES)}, tool.")
    if message.get("function_call") or message.get("audio"):
        raise serializers.ValidationError("Only messages with text and tool_calls are supported.")
    calls = read_tool_calls(message["tool_calls"]) if message.get("tool_calls") and role == "assistant" else ()
    content = message.get("content")
    if content is None and role == "assistant":
        # An answer that was stopped before its first word.
        content = ""
    if isinstance(content, list):
        content = "".join(map(_read_part, content))
    if not isinstance(content, str):
        raise serializers.ValidationError("The content of a message must be a string or a list of text parts.")
    refuse_nulls(content)
    if role == "tool":
        return InputMessage("tool", check_output(content), call_id=read_call_id(message.get("tool_call_id")))
    return InputMessage(ROLES[role], content, calls)


def _read_part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get(PARTS[kind]) if isinstance(kind, str) and kind in PARTS else None
    if not isinstance(text, str):
        raise serializers.ValidationError("Only text parts are supported.")
    return text
