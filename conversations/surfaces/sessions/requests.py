"""Request bodies of the session surface."""

from typing import Annotated, Any, ClassVar

from django.conf import settings

from conversations.surfaces.long_bodies import LongBodyParser, raw_fields
from conversations.surfaces.request_fields import RefusingBody, SessionId, choices_except, ignored, visible


class SendBody(RefusingBody):
    ref_name: ClassVar = "SessionSend"
    unsupported: ClassVar = choices_except()

    session_id: SessionId
    message: Annotated[str, visible(settings.MAX_MESSAGE_CHARACTERS)]
    assistant_id: Annotated[str, visible(100)] | None = None
    language: Annotated[Any, ignored()] = None
    history: Annotated[Any, ignored("Accepted and ignored, because the service stores the history.")] = None


# What is read of a long body: not the history.
LongSend = raw_fields("session_id", "message", "assistant_id", *SendBody.unsupported)


class SendParser(LongBodyParser):
    fields = LongSend
