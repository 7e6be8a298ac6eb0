"""Request bodies of the completion surface."""

from typing import Any, ClassVar

from django.conf import settings

from conversations.surfaces.request_fields import BodySerializer, StrictBooleanField, StrictCharField, choices_except


class SpelledBooleanField(StrictBooleanField):
    """A boolean, also as the string "true" or "false", which some front-ends send."""

    def to_internal_value(self, data: Any) -> bool:
        return super().to_internal_value({"true": True, "false": False}.get(data, data) if isinstance(data, str) else data)


class CompletionSerializer(BodySerializer):
    unsupported: ClassVar = choices_except()

    message = StrictCharField(max_length=settings.MAX_MESSAGE_CHARACTERS)
    stream = SpelledBooleanField(required=False, default=False)
