"""Request bodies of the AI SDK surface."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
import orjson
from django.conf import settings
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import ValidationError

from chatapi.api.bodies import Body
from chatapi.incoming.request_bodies import PayloadTooLarge
from conversations.models import MAX_TITLE_CHARACTERS
from conversations.surfaces.ai_sdk.tool_parts import Outputs, read_long_parts, read_outputs
from conversations.surfaces.function_tools import NamedTools, ToolChoice, offered_tools
from conversations.surfaces.headers import IDEMPOTENCY_KEY_FORM
from conversations.surfaces.long_bodies import LongBodyParser
from conversations.surfaces.request_fields import SessionId, visible
from conversations.visible_text import is_blank
from conversations.when_busy import NoWaiting
from inference_proxy.protocols.base import Sampling

# In a long body. Twenty times what one conversation gives to a model.
MOST_MESSAGES = 20_000
SPEAKERS = ("user", "assistant")
SPEAKERS_IN_JSON = {b'"%b"' % speaker.encode(): speaker for speaker in SPEAKERS}
TOOLS = "Function tools that the client runs. Ignored with an inference service that takes none."
Trigger = Literal["submit-message", "regenerate-message"]
REGENERATE: Trigger = "regenerate-message"
UI_MESSAGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": r"^[\x21-\x7e]{1,200}$"},
        "role": {"type": "string"},
        "parts": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["id", "role", "parts"],
}
UI_MESSAGES = {
    "type": "array",
    "description": "UI messages. The last one with the role `user` is the question. Of those before it only the ids are read: "
    "they say which branch the client shows. What is said there is stored by the service. If the last message "
    "is an answer with outputs of tools, the model goes on with them.",
    "items": UI_MESSAGE,
}


class Shown(NamedTuple):
    """A message that the client shows before the question. Some clients have no ids for replies."""

    role: str
    id: str | None


class Asked:
    """What a request asks: a question, or to go on with outputs of tools."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Question(Asked):
    """The last user message of a request: the client's id for it, its text, and what the client shows before it.

    `before` is None if the client sent only the question. `outputs` are those of the answer before it.
    """

    id: str
    content: str
    before: list[Shown] | None
    outputs: Outputs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResults(Asked):
    """The outputs of tools in the last message of a request, which is an answer, and the messages up to it."""

    shown: list[Shown]
    outputs: Outputs


def _require(is_valid: bool, problem: str) -> None:
    if not is_valid:
        raise ValidationError([problem])


def _read_messages(given: Any) -> Asked:
    """Read the last user message, or the outputs of tools behind it, and the ids of the messages before.

    Nothing else of them is inspected.
    """
    _require(isinstance(given, list), "Must be a list of messages.")
    said = [each for each in given if isinstance(each, dict) and each.get("role") in SPEAKERS]
    if outputs := _outputs_in_last(said):
        return ToolResults([_shown(each) for each in said], outputs)
    while said and said[-1]["role"] != "user":
        said.pop()
    _require(bool(said), "Must contain a message with the role user.")
    asked = said.pop()
    message_id = asked.get("id")
    if not isinstance(message_id, str) or not IDEMPOTENCY_KEY_FORM.fullmatch(message_id):
        raise ValidationError(["The id of the last user message must have 1 to 200 visible ASCII characters."])
    content = _read_text(asked.get("parts"))
    return Question(message_id, content, [_shown(each) for each in said], _outputs_in_last(said))


def _read_one_message(given: Any) -> Asked:
    if isinstance(given, dict) and (outputs := _outputs_in_last([given])):
        return ToolResults([_shown(given)], outputs)
    _require(isinstance(given, dict) and given.get("role") == "user", "Must be a message with the role user.")
    asked = _read_messages([given])
    assert isinstance(asked, Question)
    return replace(asked, before=None)


def _outputs_in_last(said: list[dict[str, Any]]) -> Outputs:
    is_answer = bool(said) and said[-1].get("role") == "assistant"
    return read_outputs(said[-1].get("parts")) if is_answer else {}


def _shown(message: dict[str, Any]) -> Shown:
    message_id = message.get("id")
    _require(message_id is None or isinstance(message_id, str), "The ids of messages must be strings.")
    return Shown(message["role"], message_id or None)


def _read_text(parts: Any) -> str:
    _require(
        isinstance(parts, list) and all(isinstance(part, dict) and "type" in part for part in parts),
        "The last user message must have a list of parts, each with a type.",
    )
    texts = [part.get("text") for part in parts if part["type"] == "text"]
    _require(
        len(texts) == len(parts) and all(isinstance(text, str) for text in texts),
        "The last user message must have text parts only.",
    )
    content = "\n".join(texts)
    _require("\x00" not in content, "Null characters are not allowed.")
    _require(not is_blank(content), "The last user message must not be blank.")
    _require(
        len(content) <= settings.MAX_MESSAGE_CHARACTERS,
        f"The last user message must have at most {settings.MAX_MESSAGE_CHARACTERS} characters.",
    )
    return content


class LongSubmit(msgspec.Struct, gc=False):
    """A long body. Its messages are read one by one."""

    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    message: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    trigger: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messageId: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815  # the SDK's name
    temperature: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    max_tokens: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    when_busy: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tools: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tool_choice: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class LongMessage(msgspec.Struct, gc=False):
    # Required, so that a list of other things ends at its first item instead of becoming millions of objects.
    role: msgspec.Raw
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class SubmitParser(LongBodyParser):
    fields = LongSubmit

    def read_field(self, name: str, raw: Any) -> Any:
        if name == "messages":
            return self._read_messages(raw)
        written = memoryview(raw)
        if name == "message" and len(written) > settings.ORDINARY_BODY and written[0] == ord("{"):
            # An answer with long outputs.
            [message] = self._read_messages(b"[" + bytes(written) + b"]") or [{}]
            return message
        return super().read_field(name, raw)

    def _read_messages(self, raw: Any) -> Any:
        """Return the roles and ids of the messages, and the parts that are read of them, as the field expects them."""
        if bytes(memoryview(raw)).count(b'"role"') > MOST_MESSAGES:
            raise PayloadTooLarge
        try:
            messages = msgspec.json.decode(raw, type=list[LongMessage])
        except msgspec.ValidationError:
            return None
        said = [(role, each) for each in messages if (role := SPEAKERS_IN_JSON.get(bytes(each.role)))]
        asked = max((place for place, (role, _) in enumerate(said) if role == "user"), default=-1)
        read: list[dict[str, Any]] = []
        for place, (role, each) in enumerate(said):
            message = {"role": role, "id": self._read_id(each.id)}
            if place == asked and each.parts is not msgspec.UNSET:
                message["parts"] = super().read_field("parts", each.parts)
            elif role == "assistant" and place in (asked - 1, len(said) - 1) and (parts := read_long_parts(each.parts)):
                message["parts"] = parts
            read.append(message)
        # Behind the question, only outputs count.
        return read if read and "parts" in read[-1] else read[: asked + 1]

    @staticmethod
    def _read_id(raw: Any) -> Any:
        written = b"null" if raw is msgspec.UNSET else bytes(memoryview(raw))
        # The field refuses False. Other values could be large.
        return orjson.loads(written) if written == b"null" or written[:1] == b'"' else False


class SubmitBody(Body, kw_only=True):
    ref_name: ClassVar = "ChatSubmit"

    id: SessionId
    messages: Annotated[Asked, Meta(extra_json_schema=UI_MESSAGES, extra={"read": _read_messages})] | UnsetType = UNSET
    message: Annotated[
        Asked | None,
        Meta(
            description="Instead of `messages`: the question, which follows the newest message, or an answer with outputs.",
            extra_json_schema=UI_MESSAGE,
            extra={"read": _read_one_message},
        ),
    ] = None
    trigger: Annotated[Trigger | UnsetType, Meta(description="Without it: `submit-message`.")] = UNSET
    messageId: Annotated[  # noqa: N815  # the SDK's name
        Annotated[str, visible(200)] | None,
        Meta(
            description="With `submit-message` and the id of the last of `messages`: that message is edited and keeps its id."
        ),
    ] = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=settings.MAX_OUTPUT_TOKENS)] | None = None
    model: Annotated[
        Annotated[str, visible(100)] | None, Meta(description="The model of the chat from now on. Null: unchanged.")
    ] = None
    when_busy: Annotated[NoWaiting | None, Meta(description="What to do if a reply is running, as on the primary surface.")] = (
        None
    )

    tools: Annotated[NamedTools | None, Meta(description=TOOLS)] = None
    tool_choice: ToolChoice | None = None

    def check(self) -> None:
        if self.messages is UNSET and self.message is None:
            raise ValidationError({"messages": ["This field is required."]})
        if self.trigger == REGENERATE and isinstance(self._asked(), ToolResults):
            raise ValidationError({"messages": ["To get another answer, end them with the question."]})

    def asked(self) -> Asked:
        """Return the question, or the outputs that an answer waits for."""
        asked = self._asked()
        # The SDK's own transport sends a trigger and all messages. A client of another kind sends only what is new.
        if isinstance(asked, Question) and not asked.before and self.trigger is UNSET:
            return replace(asked, before=None)
        return asked

    def _asked(self) -> Asked:
        asked = self.message if self.messages is UNSET else self.messages
        assert asked is not None
        return asked

    def offered(self) -> dict[str, Any] | None:
        return offered_tools(self.tools, self.tool_choice)

    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens, tools=self.offered() or {})


class ChatPatchBody(Body):
    ref_name: ClassVar = "ChatPatch"

    title: Annotated[str, visible(MAX_TITLE_CHARACTERS)]
