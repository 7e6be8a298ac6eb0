"""Request bodies of the OpenAI surface. Fields that are not named here are ignored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import orjson
from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from conversations.surfaces.openai.tools import (
    ToolChoiceField,
    ToolsField,
    check_output,
    offered,
    read_call,
    read_call_id,
)
from conversations.surfaces.request_fields import (
    BodySerializer,
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    UnsupportedField,
    choices_except,
)
from conversations.surfaces.sampling_fields import (
    FORMATS,
    ONLY_OPENAI,
    OpenAIFieldsSerializer,
    ResponseFormatField,
    known_sampling,
)
from conversations.visible_text import is_blank
from inference_proxy.protocols.base import OPENAI_FIELDS, Sampling
from inference_proxy.protocols.tool_calls import MOST_CALLS, ToolCall

# What one request may bring, as when the official service creates a conversation. Each item counts as a send.
MOST_ITEMS = 20
# With those that are stored already: more than any model takes.
MOST_KNOWN_ITEMS = 2_000
MOST_PAIRS = 16
LONGEST_KEY = 64
LONGEST_VALUE = 512
ROLES: dict[str, Literal["user", "assistant", "system"]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
# A response calls its format `text`.
SAMPLING_FIELDS = tuple(name for name in OPENAI_FIELDS if name != "response_format")
SUMMARIES = ("auto", "concise", "detailed")
TOOL_FIELDS = ("tools", "tool_choice")
TEXT_PARTS = ("input_text", "output_text", "text")

TEXT_PART = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": list(TEXT_PARTS)}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["message"]},
        "role": {"type": "string", "enum": list(ROLES)},
        "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}]},
    },
    "required": ["role", "content"],
}


@dataclass(frozen=True, slots=True)
class InputMessage:
    role: Literal["user", "assistant", "system", "tool"]
    content: str
    # As in `openings.Said`.
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@extend_schema_field({"type": "array", "items": _MESSAGE, "maxItems": MOST_ITEMS})
class MessagesField(serializers.Field[Any, Any, Any, Any]):
    """A few messages in OpenAI's form, each as long as a message may be."""

    def to_internal_value(self, data: Any) -> list[InputMessage]:
        messages = read_messages(data, most=MOST_ITEMS)
        check_lengths(message.content for message in messages if message.role != "tool")
        return messages


_INPUT_LIST = {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": MOST_KNOWN_ITEMS}


@extend_schema_field({"oneOf": [{"type": "string"}, _INPUT_LIST]})
class InputField(serializers.Field[Any, Any, Any, Any]):
    """A question, or a list of messages that ends with one. `check_brought` is for those that are new here."""

    def to_internal_value(self, data: Any) -> list[InputMessage]:
        messages = [InputMessage("user", data)] if isinstance(data, str) else read_messages(data, most=MOST_KNOWN_ITEMS)
        if not messages or messages[-1].role not in ("user", "tool"):
            raise serializers.ValidationError("Must end with a message of the role user, or with the output of a function.")
        if messages[-1].role == "user":
            question = messages[-1].content
            if is_blank(question):
                raise serializers.ValidationError("The last message must not be blank.")
            check_lengths([question])
            refuse_nulls(question)
        return messages


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": LONGEST_VALUE},
        "maxProperties": MOST_PAIRS,
    }
)
class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """Up to 16 pairs of texts. null means none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_null=True, **options)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            raise serializers.ValidationError("Must be an object whose values are strings.")
        if len(data) > MOST_PAIRS:
            raise serializers.ValidationError(f"Must have at most {MOST_PAIRS} pairs.")
        if any(len(key) > LONGEST_KEY for key in data):
            raise serializers.ValidationError(f"A key must have at most {LONGEST_KEY} characters.")
        if any(len(value) > LONGEST_VALUE for value in data.values()):
            raise serializers.ValidationError(f"A value must have at most {LONGEST_VALUE} characters.")
        for pair in data.items():
            refuse_nulls(*pair)
        return data


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string"},
            {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        ]
    }
)
class ConversationField(serializers.Field[Any, Any, Any, Any]):
    """The id of a conversation, or an object with it."""

    def to_internal_value(self, data: Any) -> str:
        found = data.get("id") if isinstance(data, dict) else data
        if not isinstance(found, str):
            raise serializers.ValidationError("Must be the id of a conversation, or an object with that id.")
        return found


@extend_schema_field(
    {
        "type": "object",
        "properties": {
            "format": {
                "type": ["object", "null"],
                "properties": {
                    "type": {"type": "string", "enum": list(FORMATS)},
                    "name": {"type": "string"},
                    "schema": {"type": "object"},
                },
                "required": ["type"],
            }
        },
    }
)
class TextField(serializers.Field[Any, Any, Any, Any]):
    """The form of the answer, as OpenAI's responses name it. Its value is that of a chat completion's `response_format`."""

    def to_internal_value(self, data: Any) -> dict[str, Any] | None:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Must be an object.")
        wanted = data.get("format")
        if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
            if not isinstance(wanted.get("schema"), dict):
                raise serializers.ValidationError("A format of the type json_schema needs a schema.")
            wanted = {"type": "json_schema", "json_schema": {name: wanted[name] for name in wanted if name != "type"}}
        if wanted is None:
            return None
        found = ResponseFormatField().to_internal_value(wanted)
        if found is not None and "response_format" not in known_sampling():
            raise serializers.ValidationError("The inference service only answers with plain text.")
        return found


class ModelField(StrictCharField):
    """A model, or one of MODEL_ALIASES: clients have names of OpenAI's models built in."""

    def __init__(self, help_text: str) -> None:
        super().__init__(required=False, allow_null=True, max_length=100, help_text=help_text)

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        return str(settings.MODEL_ALIASES.get(name, name))


class MaxTokensField(StrictIntegerField):
    """The length of the answer. More than the service allows is that: clients have the limits of OpenAI's models built in."""

    def __init__(self, help_text: str = "More than the service allows is MAX_OUTPUT_TOKENS.") -> None:
        super().__init__(required=False, allow_null=True, min_value=1, help_text=help_text)

    def to_internal_value(self, data: Any) -> int:
        return min(super().to_internal_value(data), settings.MAX_OUTPUT_TOKENS)


@extend_schema_field(
    {
        "type": "object",
        "properties": {"summary": {"type": "string", "enum": list(SUMMARIES), "nullable": True}},
        "nullable": True,
    }
)
class ReasoningField(serializers.Field[Any, Any, Any, Any]):
    """`summary`: show what the model thinks as a summary, all of it. The effort can't be chosen."""

    def to_internal_value(self, data: Any) -> str | None:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Must be an object.")
        summary = data.get("summary") or data.get("generate_summary")
        if summary is not None and (not isinstance(summary, str) or summary not in SUMMARIES):
            raise serializers.ValidationError(f"The summary must be one of {', '.join(SUMMARIES)}.")
        if any(value is not None for name, value in data.items() if name not in ("summary", "generate_summary")):
            raise serializers.ValidationError("The service supports nothing but a summary.")
        return summary


class ResponseCreateSerializer(OpenAIFieldsSerializer):
    unsupported: ClassVar = choices_except(
        "model", "instructions", "temperature", "max_output_tokens", "reasoning", *SAMPLING_FIELDS, *TOOL_FIELDS
    )

    input = InputField()
    model = ModelField("For this response. Default: the conversation's model.")
    conversation = ConversationField(required=False, allow_null=True)
    previous_response_id = StrictCharField(
        required=False, allow_null=True, max_length=100, help_text="The response that the question follows."
    )
    stream = StrictBooleanField(required=False, allow_null=True)
    background = StrictBooleanField(required=False, allow_null=True, help_text="true: answer at once, and go on alone.")
    store = StrictBooleanField(
        required=False, allow_null=True, help_text="false: a new conversation is temporary, for 24 hours after its last turn."
    )
    instructions = StrictCharField(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=settings.MAX_MESSAGE_CHARACTERS,
        help_text="Follow the system prompt, for this response only.",
    )
    temperature = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=2)
    max_output_tokens = MaxTokensField()
    reasoning = ReasoningField(required=False, allow_null=True)
    metadata = MetadataField(required=False)
    prompt = UnsupportedField()
    tools = ToolsField(required=False, allow_null=True)
    tool_choice = ToolChoiceField(required=False, allow_null=True)
    parallel_tool_calls = StrictBooleanField(required=False, allow_null=True)
    text = TextField(required=False, allow_null=True, help_text=ONLY_OPENAI)

    class Meta:
        ref_name = "OpenAIResponseCreate"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("conversation") and attrs.get("previous_response_id"):
            raise serializers.ValidationError({"conversation": ["Not together with previous_response_id."]})
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
            max_tokens=asked.get("max_output_tokens"),
            **{**self.openai_fields(), "response_format": asked.get("text")},
            tools=offered(asked),
        )


class ConversationCreateSerializer(BodySerializer):
    metadata = MetadataField(required=False)
    items = MessagesField(required=False, allow_null=True)

    class Meta:
        ref_name = "OpenAIConversationCreate"


class ItemsCreateSerializer(BodySerializer):
    items = MessagesField()

    class Meta:
        ref_name = "OpenAIItemsCreate"


class ConversationUpdateSerializer(BodySerializer):
    metadata = MetadataField()

    class Meta:
        ref_name = "OpenAIConversationUpdate"


def read_messages(data: Any, *, most: int) -> list[InputMessage]:
    """Read a list of messages. Reasoning is left out: no model gets it back."""
    if not isinstance(data, list):
        raise serializers.ValidationError("Must be a list of messages.")
    if len(data) > most:
        raise serializers.ValidationError(f"Must have at most {most} messages.")
    messages: list[InputMessage] = []
    for item in data:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "function_call":
            _add_call(messages, read_call(item.get("call_id"), item))
        elif kind == "function_call_output":
            output = check_output(_read_content(item.get("output")))
            messages.append(InputMessage("tool", output, call_id=read_call_id(item.get("call_id"))))
        elif kind != "reasoning":
            messages.append(_read_message(item))
    return messages


def _add_call(messages: list[InputMessage], call: ToolCall) -> None:
    """Add a call to the answer that it belongs to, or begin one that consists of calls."""
    if not messages or messages[-1].role != "assistant":
        messages.append(InputMessage("assistant", ""))
    if len(messages[-1].calls) == MOST_CALLS:
        raise serializers.ValidationError(f"An answer must have at most {MOST_CALLS} calls.")
    messages[-1] = replace(messages[-1], calls=(*messages[-1].calls, call))


def check_lengths(contents: Iterable[str]) -> None:
    longest = settings.MAX_MESSAGE_CHARACTERS
    if any(len(content) > longest for content in contents):
        raise serializers.ValidationError(f"A message must have at most {longest} characters.")


def check_brought(contents: Sequence[str]) -> None:
    """Refuse messages that come with a question and are not stored here, if they are too many or too long."""
    try:
        if len(contents) >= MOST_ITEMS:
            raise serializers.ValidationError(f"Must have at most {MOST_ITEMS} messages that this service has not stored.")
        check_lengths(contents)
    except serializers.ValidationError as problem:
        raise serializers.ValidationError({"input": problem.detail}) from None


def _read_message(item: Any) -> InputMessage:
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        raise serializers.ValidationError("Only messages, calls of functions and their outputs are supported.")
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise serializers.ValidationError(f"The role of a message must be one of {', '.join(ROLES)}.")
    return InputMessage(ROLES[role], _read_content(item.get("content")))


def _read_content(content: Any) -> str:
    if isinstance(content, list):
        content = "".join(map(_read_part, content))
    if not isinstance(content, str):
        raise serializers.ValidationError("The content of a message must be a string or a list of text parts.")
    refuse_nulls(content)
    return content


def _read_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") in TEXT_PARTS else None
    if not isinstance(text, str):
        raise serializers.ValidationError("Only text parts are supported.")
    return text


def refuse_nulls(*texts: str) -> None:
    if any("\x00" in text for text in texts):
        raise serializers.ValidationError("Null characters are not allowed.")
