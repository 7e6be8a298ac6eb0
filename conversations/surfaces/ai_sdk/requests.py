"""Request bodies of the AI SDK surface."""

from dataclasses import dataclass
from typing import Any

import msgspec
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
SUBMIT, REGENERATE = "submit-message", "regenerate-message"
UI_MESSAGES = {
    "type": "array",
    "description": "UI messages. Only the last one with the role `user` is read, because the service stores the history.",
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": r"^[\x21-\x7e]{1,200}$"},
            "role": {"type": "string"},
            "parts": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["id", "role", "parts"],
    },
}


@dataclass(frozen=True, slots=True)
class Question:
    """The last user message of a request: the client's id for it, and its text."""

    id: str
    content: str


@extend_schema_field(UI_MESSAGES)
class QuestionField(serializers.Field[Any, Any, Any, Any]):
    """Read the last user message. The other messages are not inspected."""

    default_error_messages = {
        "not_a_list": "Must be a list of messages.",
        "no_question": "Must contain a message with the role user.",
        "id": "The id of the last user message must have 1 to 200 visible ASCII characters.",
        "parts": "The last user message must have a list of parts, each with a type.",
        "not_text": "The last user message must have text parts only.",
    }

    def to_internal_value(self, data: Any) -> Question:
        if not isinstance(data, list):
            self.fail("not_a_list")
        asked = next((each for each in reversed(data) if isinstance(each, dict) and each.get("role") == "user"), None)
        if asked is None:
            self.fail("no_question")
        message_id = asked.get("id")
        if not isinstance(message_id, str) or not IDEMPOTENCY_KEY_FORM.fullmatch(message_id):
            self.fail("id")
        content = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS).run_validation(self._text(asked.get("parts")))
        return Question(id=message_id, content=content)

    def _text(self, parts: Any) -> str:
        if not isinstance(parts, list) or not all(isinstance(part, dict) and "type" in part for part in parts):
            self.fail("parts")
        texts = [part.get("text") for part in parts if part["type"] == "text"]
        if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
            self.fail("not_text")
        return "\n".join(texts)


class LongSubmit(msgspec.Struct, gc=False):
    """A long body. Its messages are read one by one."""

    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
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
        return super().read_field(name, raw) if name != "messages" else self._read_question(raw)

    def _read_question(self, raw: Any) -> Any:
        """Return the last user message in a list, as the field expects it."""
        if bytes(memoryview(raw)).count(b'"role"') > MOST_MESSAGES:
            raise PayloadTooLarge
        try:
            messages = msgspec.json.decode(raw, type=list[LongMessage])
        except msgspec.ValidationError:
            return None
        asked = next((each for each in reversed(messages) if bytes(each.role) == b'"user"'), None)
        if asked is None:
            return []
        given = {"id": asked.id, "parts": asked.parts}
        read = {
            name: super(SubmitParser, self).read_field(name, part) for name, part in given.items() if part is not msgspec.UNSET
        }
        return [{"role": "user", **read}]


class SubmitSerializer(BodySerializer):
    id = SessionIdField()
    messages = QuestionField()
    trigger = StrictChoiceField(choices=[SUBMIT, REGENERATE], required=False, default=SUBMIT)
    messageId = StrictCharField(  # noqa: N815  # the SDK's name
        required=False,
        allow_null=True,
        max_length=200,
        help_text="With `submit-message`: the message is an edit of the last user message, which keeps its id.",
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

    def sampling(self) -> Sampling:
        chosen = self.validated_data
        return Sampling(temperature=chosen.get("temperature"), max_tokens=chosen.get("max_tokens"))
