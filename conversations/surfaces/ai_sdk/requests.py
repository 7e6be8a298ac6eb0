"""Request bodies of the AI SDK surface."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
import orjson
from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chatapi.incoming.request_bodies import PayloadTooLarge
from conversations.surfaces.headers import IDEMPOTENCY_KEY_FORM
from conversations.surfaces.long_bodies import LongBodyParser
from conversations.surfaces.request_fields import (
    BodySerializer,
    SessionIdField,
    StrictCharField,
    StrictChoiceField,
    StrictFloatField,
    StrictIntegerField,
)
from inference_proxy.protocols.base import Sampling

# In a long body. Twenty times what one conversation gives to a model.
MOST_MESSAGES = 20_000
SPEAKERS = ("user", "assistant")
SPEAKERS_IN_JSON = {b'"%b"' % speaker.encode(): speaker for speaker in SPEAKERS}
SUBMIT, REGENERATE = "submit-message", "regenerate-message"
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
    "they say which branch the client shows. What is said there is stored by the service.",
    "items": UI_MESSAGE,
}


class Shown(NamedTuple):
    """A message that the client shows before the question. Some clients have no ids for replies."""

    role: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """The last user message of a request: the client's id for it, its text, and what the client shows before it.

    `before` is None if the client sent only the question.
    """

    id: str
    content: str
    before: list[Shown] | None


@extend_schema_field(UI_MESSAGES)
class QuestionField(serializers.Field[Any, Any, Any, Any]):
    """Read the last user message, and the ids of the messages before it. Nothing else of them is inspected."""

    default_error_messages = {
        "not_a_list": "Must be a list of messages.",
        "no_question": "Must contain a message with the role user.",
        "ids": "The ids of messages must be strings.",
        "id": "The id of the last user message must have 1 to 200 visible ASCII characters.",
        "parts": "The last user message must have a list of parts, each with a type.",
        "not_text": "The last user message must have text parts only.",
    }

    def to_internal_value(self, data: Any) -> Question:
        if not isinstance(data, list):
            self.fail("not_a_list")
        said = [each for each in data if isinstance(each, dict) and each.get("role") in SPEAKERS]
        while said and said[-1]["role"] != "user":
            said.pop()
        if not said:
            self.fail("no_question")
        asked = said.pop()
        message_id = asked.get("id")
        if not isinstance(message_id, str) or not IDEMPOTENCY_KEY_FORM.fullmatch(message_id):
            self.fail("id")
        content = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS).run_validation(self._text(asked.get("parts")))
        return Question(id=message_id, content=content, before=[self._shown(each) for each in said])

    def _shown(self, message: dict[str, Any]) -> Shown:
        message_id = message.get("id")
        if message_id is not None and not isinstance(message_id, str):
            self.fail("ids")
        return Shown(message["role"], message_id or None)

    def _text(self, parts: Any) -> str:
        if not isinstance(parts, list) or not all(isinstance(part, dict) and "type" in part for part in parts):
            self.fail("parts")
        texts = [part.get("text") for part in parts if part["type"] == "text"]
        if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
            self.fail("not_text")
        return "\n".join(texts)


@extend_schema_field(UI_MESSAGE)
class OneQuestionField(QuestionField):
    default_error_messages = {"not_a_message": "Must be a message with the role user."}

    def to_internal_value(self, data: Any) -> Question:
        if not isinstance(data, dict) or data.get("role") != "user":
            self.fail("not_a_message")
        return replace(super().to_internal_value([data]), before=None)


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


class LongMessage(msgspec.Struct, gc=False):
    # Required, so that a list of other things ends at its first item instead of becoming millions of objects.
    role: msgspec.Raw
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class SubmitParser(LongBodyParser):
    fields = LongSubmit

    def read_field(self, name: str, raw: Any) -> Any:
        return super().read_field(name, raw) if name != "messages" else self._read_messages(raw)

    def _read_messages(self, raw: Any) -> Any:
        """Return the last user message, and the roles and ids of those before it, as the field expects them."""
        if bytes(memoryview(raw)).count(b'"role"') > MOST_MESSAGES:
            raise PayloadTooLarge
        try:
            messages = msgspec.json.decode(raw, type=list[LongMessage])
        except msgspec.ValidationError:
            return None
        said = [(role, each) for each in messages if (role := SPEAKERS_IN_JSON.get(bytes(each.role)))]
        while said and said[-1][0] != "user":
            said.pop()
        if not said:
            return []
        _, asked = said.pop()
        given = {"id": asked.id, "parts": asked.parts}
        read = {
            name: super(SubmitParser, self).read_field(name, part) for name, part in given.items() if part is not msgspec.UNSET
        }
        return [*({"role": role, "id": self._read_id(each.id)} for role, each in said), {"role": "user", **read}]

    @staticmethod
    def _read_id(raw: Any) -> Any:
        written = b"null" if raw is msgspec.UNSET else bytes(memoryview(raw))
        # The field refuses False. Other values could be large.
        return orjson.loads(written) if written == b"null" or written[:1] == b'"' else False


class SubmitSerializer(BodySerializer):
    id = SessionIdField()
    messages = QuestionField(required=False)
    message = OneQuestionField(
        required=False, allow_null=True, help_text="Instead of `messages`: the question, which follows the newest message."
    )
    trigger = StrictChoiceField(choices=[SUBMIT, REGENERATE], required=False, help_text="Without it: `submit-message`.")
    messageId = StrictCharField(  # noqa: N815  # the SDK's name
        required=False,
        allow_null=True,
        max_length=200,
        help_text="With `submit-message` and the id of the last of `messages`: that message is edited and keeps its id.",
    )
    temperature = StrictFloatField(required=False, allow_null=True, min_value=0, max_value=2)
    max_tokens = StrictIntegerField(required=False, allow_null=True, min_value=1, max_value=settings.MAX_OUTPUT_TOKENS)
    model = StrictCharField(
        required=False, allow_null=True, max_length=100, help_text="The model of the chat from now on. Null: unchanged."
    )
    when_busy = StrictChoiceField(
        choices=["reject", "interrupt"],
        required=False,
        allow_null=True,
        help_text="What to do if a reply is running, as on the primary surface.",
    )

    class Meta:
        ref_name = "ChatSubmit"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "messages" not in attrs and attrs.get("message") is None:
            raise serializers.ValidationError({"messages": ["This field is required."]})
        return attrs

    def question(self) -> Question:
        chosen = self.validated_data
        asked: Question = chosen["messages"] if "messages" in chosen else chosen["message"]
        # The SDK's own transport sends a trigger and all messages. A client of another kind sends only what is new.
        sends_all = bool(asked.before) or "trigger" in chosen
        return asked if sends_all else replace(asked, before=None)

    def sampling(self) -> Sampling:
        chosen = self.validated_data
        return Sampling(temperature=chosen.get("temperature"), max_tokens=chosen.get("max_tokens"))
