"""Request and response formats of assistants, search, feedback, usage and users."""

import html
from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from conversations.models import DEFAULT_TITLE, Role
from conversations.services.search import Hit
from conversations.services.search_statements import MATCH_START, MATCH_STOP
from conversations.surfaces.fields import StrictCharField, StrictIntegerField
from conversations.surfaces.nulls import known_time

ASSISTANT_COLUMNS = ("id", "name", "description", "model_tag", "requires_authentication")


def hit_json(hit: Hit) -> dict[str, Any]:
    # Escape before marking, so that <mark> is the only tag in a snippet.
    snippet = html.escape(hit.snippet).replace(MATCH_START, "<mark>").replace(MATCH_STOP, "</mark>")
    return {
        "message_id": hit.message_id,
        "conversation_id": hit.conversation_id,
        "conversation_title": hit.conversation_title or DEFAULT_TITLE,
        "role": hit.role,
        "created_at": known_time(hit.created_at),
        "snippet": snippet,
    }


# --- Requests ----------------------------------------------------------------------------------------------------------


class FeedbackSerializer(serializers.Serializer[Any]):
    rating = StrictIntegerField(allow_null=True, min_value=-1, max_value=1, help_text="1, -1, or null to remove the rating.")
    comment = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=2000)

    def validate_rating(self, rating: int | None) -> int | None:
        if rating == 0:
            raise serializers.ValidationError("Must be 1, -1 or null.")
        return rating


# --- Responses, for the OpenAPI description ------------------------------------------------------------------------------


class AssistantSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    model_tag = serializers.CharField(allow_blank=True, help_text="Empty: the model of the conversation.")
    requires_authentication = serializers.BooleanField(
        help_text="false: anonymous callers may use it too, if ALLOW_ANONYMOUS is on."
    )

    class Meta:
        ref_name = "Assistant"


@extend_schema_serializer(many=False)
class AssistantListSchema(serializers.Serializer[Any]):
    items = AssistantSchema(many=True)


class HitSchema(serializers.Serializer[Any]):
    message_id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    conversation_title = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.values)
    created_at = serializers.DateTimeField()
    snippet = serializers.CharField(allow_blank=True, help_text="Escaped for HTML. Matches are inside `<mark>`.")

    class Meta:
        ref_name = "Hit"


@extend_schema_serializer(many=False)
class HitListSchema(serializers.Serializer[Any]):
    items = HitSchema(many=True)
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="Pass it as `cursor` to get more hits. Null if there are no more.")


class UsageSchema(serializers.Serializer[Any]):
    messages = serializers.IntegerField(min_value=0, help_text="Messages that the user sent.")
    replies = serializers.IntegerField(min_value=0)
    tokens = serializers.IntegerField(min_value=0, help_text="Tokens of the replies.")
    prompt_tokens = serializers.IntegerField(
        min_value=0, help_text="Tokens of the prompts. 0 if the model does not report them."
    )
    inference_time_ms = serializers.IntegerField(min_value=0)

    class Meta:
        ref_name = "Usage"


class DayUsageSchema(UsageSchema):
    date = serializers.DateField()

    class Meta:
        ref_name = "DayUsage"


class UsageReportSchema(serializers.Serializer[Any]):
    days = DayUsageSchema(many=True, help_text="Every day, oldest first.")
    total = UsageSchema()


class UserSchema(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField(allow_blank=True)
    name = serializers.CharField(allow_blank=True)
    is_admin = serializers.BooleanField()
    first_seen_at = serializers.DateTimeField(allow_null=True)
    last_seen_at = serializers.DateTimeField(allow_null=True)
    conversations = serializers.IntegerField(min_value=0, max_value=10_000, help_text="10,000 means 10,000 or more.")
    messages = serializers.IntegerField(min_value=0, max_value=10_000, help_text="10,000 means 10,000 or more.")
    conversation_count = serializers.IntegerField(min_value=0, max_value=10_000, help_text="The same as `conversations`.")
    message_count = serializers.IntegerField(min_value=0, max_value=10_000, help_text="The same as `messages`.")
    provider = serializers.CharField(
        allow_blank=True, help_text="From the predecessor's table of users. Empty without that table."
    )
    created_at = serializers.DateTimeField(allow_null=True, help_text="From the predecessor's table of users.")
    last_login_at = serializers.DateTimeField(allow_null=True, help_text="From the predecessor's table of users.")

    class Meta:
        ref_name = "User"


class TotalsSchema(serializers.Serializer[Any]):
    users = serializers.IntegerField(min_value=0)
    conversations = serializers.IntegerField(min_value=0)
    messages = serializers.IntegerField(min_value=0)
    estimated = serializers.BooleanField(
        help_text="true: the tables are too large to count, so the totals are PostgreSQL's estimates."
    )


@extend_schema_serializer(many=False)
class UserListSchema(serializers.Serializer[Any]):
    items = UserSchema(many=True)
    totals = TotalsSchema()
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True)
