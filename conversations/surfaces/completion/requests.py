"""Request bodies of the completion surface."""

from typing import Annotated, Any, ClassVar

from django.conf import settings
from msgspec import Meta
from rest_framework.exceptions import ValidationError

from conversations.surfaces.request_fields import RefusingBody, choices_except, visible

SPELLED = {"true": True, "false": False}


def _read_spelled(given: Any) -> bool:
    """Read a boolean, also as the string "true" or "false", which some front-ends send."""
    value = SPELLED.get(given) if isinstance(given, str) else given
    if not isinstance(value, bool):
        raise ValidationError(["Must be true or false."])
    return value


class CompletionBody(RefusingBody):
    unsupported: ClassVar = choices_except()

    message: Annotated[str, visible(settings.MAX_MESSAGE_CHARACTERS)]
    # Generated clients need one type, so the description has no string.
    stream: Annotated[bool, Meta(description="true: stream the reply as plain text", extra={"read": _read_spelled})] = False
