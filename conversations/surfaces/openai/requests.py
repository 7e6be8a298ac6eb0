"""Request bodies of the OpenAI surface. Fields that are not named here are ignored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from django.conf import settings
from msgspec import Meta
from rest_framework.exceptions import ValidationError

from chatapi.api.bodies import Body
from conversations.surfaces.function_tools import TOOL_FIELDS, ToolsBody, check_output, read_call, read_call_id
from conversations.surfaces.request_fields import (
    RefusingBody,
    choices_except,
    choices_of_creation,
    not_supported,
    require_visible,
    visible,
)
from conversations.surfaces.sampling_fields import EFFORTS, FORMATS, ONLY_OPENAI, known_sampling, read_response_format
from conversations.visible_text import is_blank
from inference_proxy.protocols.base import OPENAI_FIELDS, Sampling
from inference_proxy.protocols.tool_calls import MOST_CALLS, ToolCall

# What one request may bring, as when the official service creates a conversation. Each item counts as a send.
MOST_ITEMS = 20
# Together with the items that are stored already. No model takes as many.
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
MOST_TOKENS = "A value above MAX_OUTPUT_TOKENS counts as MAX_OUTPUT_TOKENS."
STORE = "false: a new conversation is temporary, for 24 hours after its last turn."
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
    # As in `brought_messages.Said`.
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


def _read_items(given: Any) -> list[InputMessage]:
    messages = read_messages(given, most=MOST_ITEMS)
    check_lengths(message.content for message in messages if message.role != "tool")
    return messages


def _read_input(given: Any) -> list[InputMessage]:
    messages = [InputMessage("user", given)] if isinstance(given, str) else read_messages(given, most=MOST_KNOWN_ITEMS)
    if not messages or messages[-1].role not in ("user", "tool"):
        raise ValidationError("Must end with a message of the role user, or with the output of a function.")
    if messages[-1].role == "user":
        question = messages[-1].content
        if is_blank(question):
            raise ValidationError("The last message must not be blank.")
        check_lengths([question])
        refuse_nulls(question)
    return messages


def _read_metadata(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ValidationError("Must be an object whose values are strings.")
    if len(given) > MOST_PAIRS:
        raise ValidationError(f"Must have at most {MOST_PAIRS} pairs.")
    if any(len(key) > LONGEST_KEY for key in given):
        raise ValidationError(f"A key must have at most {LONGEST_KEY} characters.")
    if any(len(value) > LONGEST_VALUE for value in given.values()):
        raise ValidationError(f"A value must have at most {LONGEST_VALUE} characters.")
    for pair in given.items():
        refuse_nulls(*pair)
    return given


def _read_conversation(given: Any) -> str:
    found = given.get("id") if isinstance(given, dict) else given
    if not isinstance(found, str):
        raise ValidationError("Must be the id of a conversation, or an object with that id.")
    return found


def _read_text(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, dict):
        raise ValidationError("Must be an object.")
    wanted = given.get("format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        if not isinstance(wanted.get("schema"), dict):
            raise ValidationError("A format of the type json_schema needs a schema.")
        wanted = {"type": "json_schema", "json_schema": {name: wanted[name] for name in wanted if name != "type"}}
    if wanted is None:
        return None
    found = read_response_format(wanted)
    if found is not None and "response_format" not in known_sampling():
        raise ValidationError("The inference service only answers with plain text.")
    return found


def _read_model(name: str) -> str:
    """Return a model for a name of OpenAI's models, which clients have built in."""
    return str(settings.MODEL_ALIASES.get(require_visible(name), name))


def _limit_tokens(most: int) -> int:
    """Return what the service allows, if clients say more: they have the limits of OpenAI's models built in."""
    return min(most, settings.MAX_OUTPUT_TOKENS)


class Reasoning(NamedTuple):
    """`summary`: show what the model thinks as a summary, all of it. `effort`: how long it thinks."""

    summary: str | None
    effort: str | None


def _read_reasoning(given: Any) -> Reasoning:
    if not isinstance(given, dict):
        raise ValidationError("Must be an object.")
    summary = given.get("summary") or given.get("generate_summary")
    if summary is not None and (not isinstance(summary, str) or summary not in SUMMARIES):
        raise ValidationError(f"The summary must be one of {', '.join(SUMMARIES)}.")
    effort = given.get("effort")
    if effort is not None and "reasoning_effort" not in known_sampling():
        raise ValidationError("The inference service does not let the effort be chosen.")
    if effort is not None and (not isinstance(effort, str) or effort not in EFFORTS):
        raise ValidationError(f"The effort must be one of {', '.join(EFFORTS)}.")
    if any(value is not None for name, value in given.items() if name not in ("summary", "generate_summary", "effort")):
        raise ValidationError("The service supports nothing but a summary and an effort.")
    return Reasoning(summary, effort)


_INPUT_LIST = {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": MOST_KNOWN_ITEMS}
_PAIRS = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": LONGEST_VALUE},
    "maxProperties": MOST_PAIRS,
}
_REFERENCE = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
_TEXT = {
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
_REASONING = {
    "type": "object",
    "properties": {
        "summary": {"type": ["string", "null"], "enum": [*SUMMARIES, None]},
        "effort": {"type": ["string", "null"], "enum": [*EFFORTS, None]},
    },
}
Model = Annotated[str, Meta(min_length=1, max_length=100, extra={"then": _read_model})]
MaxTokens = Annotated[int, Meta(ge=1, extra={"then": _limit_tokens})]
ReasoningChoice = Annotated[Reasoning, Meta(extra_json_schema=_REASONING, extra={"read": _read_reasoning})]
# A few messages in OpenAI's form, each as long as a message may be.
Items = Annotated[
    list[InputMessage],
    Meta(extra_json_schema={"type": "array", "items": _MESSAGE, "maxItems": MOST_ITEMS}, extra={"read": _read_items}),
]
# A question, or a list of messages that ends with one. `check_brought` is for those that are new here.
Input = Annotated[
    list[InputMessage], Meta(extra_json_schema={"oneOf": [{"type": "string"}, _INPUT_LIST]}, extra={"read": _read_input})
]
# Up to 16 pairs of texts.
Metadata = Annotated[dict[str, str], Meta(extra_json_schema=_PAIRS, extra={"read": _read_metadata})]
# The id of a conversation, or an object with it.
ConversationId = Annotated[
    str, Meta(extra_json_schema={"oneOf": [{"type": "string"}, _REFERENCE]}, extra={"read": _read_conversation})
]
# The form of the answer, as OpenAI's responses name it. Its value is that of a chat completion's `response_format`.
TextForm = Annotated[dict[str, Any], Meta(extra_json_schema=_TEXT, extra={"read": _read_text})]


class ResponseCreateBody(ToolsBody, kw_only=True):
    ref_name: ClassVar = "OpenAIResponseCreate"
    unsupported: ClassVar = choices_except(
        "model", "instructions", "temperature", "max_output_tokens", "reasoning", *SAMPLING_FIELDS, *TOOL_FIELDS
    )

    input: Input
    model: Annotated[Model | None, Meta(description="For this response. Default: the conversation's model.")] = None
    conversation: ConversationId | None = None
    previous_response_id: Annotated[
        Annotated[str, visible(100)] | None, Meta(description="The response that the question follows.")
    ] = None
    stream: bool | None = None
    background: Annotated[bool | None, Meta(description="true: respond at once; the reply goes on in the background.")] = None
    store: Annotated[bool | None, Meta(description=STORE)] = None
    instructions: Annotated[
        Annotated[str, Meta(max_length=settings.MAX_MESSAGE_CHARACTERS)] | None,
        Meta(description="Follow the system prompt, for this response only."),
    ] = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[MaxTokens | None, Meta(description=MOST_TOKENS)] = None
    reasoning: ReasoningChoice | None = None
    metadata: Metadata | None = None
    prompt: Annotated[Any, not_supported()] = None
    text: Annotated[TextForm | None, Meta(description=ONLY_OPENAI)] = None

    def check(self) -> None:
        if self.conversation and self.previous_response_id:
            raise ValidationError({"conversation": ["Not together with previous_response_id."]})
        super().check()

    def effort(self) -> str | None:
        return (self.reasoning and self.reasoning.effort) or self.reasoning_effort

    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            max_tokens=self.max_output_tokens,
            **{**self.openai_fields(), "response_format": self.text, "reasoning_effort": self.effort()},
            tools=self.offered(),
        )


class ConversationCreateBody(RefusingBody):
    ref_name: ClassVar = "OpenAIConversationCreate"
    unsupported: ClassVar = choices_of_creation()

    metadata: Metadata | None = None
    items: Items | None = None


class ItemsCreateBody(Body):
    ref_name: ClassVar = "OpenAIItemsCreate"

    items: Items


class ConversationUpdateBody(Body):
    ref_name: ClassVar = "OpenAIConversationUpdate"

    metadata: Metadata | None


def read_messages(data: Any, *, most: int) -> list[InputMessage]:
    """Read a list of messages. Reasoning is left out: no model gets it back."""
    if not isinstance(data, list):
        raise ValidationError("Must be a list of messages.")
    if len(data) > most:
        raise ValidationError(f"Must have at most {most} messages.")
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
        raise ValidationError(f"An answer must have at most {MOST_CALLS} calls.")
    messages[-1] = replace(messages[-1], calls=(*messages[-1].calls, call))


def check_lengths(contents: Iterable[str]) -> None:
    longest = settings.MAX_MESSAGE_CHARACTERS
    if any(len(content) > longest for content in contents):
        raise ValidationError(f"A message must have at most {longest} characters.")


def check_brought(contents: Sequence[str]) -> None:
    """Refuse messages that come with a question and are not stored here, if they are too many or too long."""
    try:
        if len(contents) >= MOST_ITEMS:
            raise ValidationError(f"Must have at most {MOST_ITEMS} messages that this service has not stored.")
        check_lengths(contents)
    except ValidationError as problem:
        raise ValidationError({"input": problem.detail}) from None


def _read_message(item: Any) -> InputMessage:
    if not isinstance(item, dict) or item.get("type", "message") != "message":
        raise ValidationError("Only messages, calls of functions and their outputs are supported.")
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise ValidationError(f"The role of a message must be one of {', '.join(ROLES)}.")
    return InputMessage(ROLES[role], _read_content(item.get("content")))


def _read_content(content: Any) -> str:
    if isinstance(content, list):
        content = "".join(map(_read_part, content))
    if not isinstance(content, str):
        raise ValidationError("The content of a message must be a string or a list of text parts.")
    refuse_nulls(content)
    return content


def _read_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") in TEXT_PARTS else None
    if not isinstance(text, str):
        raise ValidationError("Only text parts are supported.")
    return text


def refuse_nulls(*texts: str) -> None:
    if any("\x00" in text for text in texts):
        raise ValidationError("Null characters are not allowed.")
