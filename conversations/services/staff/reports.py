"""What an operator must know of one user: numbers, times and limits, and nothing that the user wrote.

A few aggregates over the user's own rows, each answered by an index that begins with the user.
"""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db.models import Count, Max, Min, Q, Sum
from django.utils import timezone

from conversations.models import ChatUser, Conversation, Message, RetentionRule, StaffAccess, UsageTotal, UserInstructions
from conversations.services.history.erase import is_erased_user
from conversations.services.history.holds import holds_on_user
from conversations.services.history.user_tables import USER_TABLES
from conversations.services.usage.quotas import read_quota

MOST_HOLDS = 50
DIRECTORY = ("email", "name", "is_admin", "first_seen_at", "last_seen_at")


def user_report(*, user_id: UUID) -> dict[str, Any]:
    """Return the report. Of a user of whom nothing is stored, all counts are 0."""
    quota = read_quota(user_id)
    instructions = UserInstructions.objects.filter(user_id=user_id).values("is_active", "updated_at").first()
    return {
        "user_id": user_id,
        "made_at": timezone.now(),
        "is_erased": is_erased_user(user_id=user_id),
        "directory": ChatUser.objects.filter(id=user_id).values(*DIRECTORY).first(),
        "conversations": _conversations(user_id),
        "messages": _messages(user_id),
        "usage": _usage(user_id),
        "quota": {"day": quota.day and asdict(quota.day), "month": quota.month and asdict(quota.month)},
        "instructions": instructions,
        "holds": _holds(user_id),
        "retention_days": _retention_days(user_id),
        "access_by_staff": StaffAccess.objects.filter(user_id=user_id).aggregate(records=Count("id"), last_at=Max("at")),
        "rows": {table.name: table.count(user_id) for table in USER_TABLES},
    }


def _conversations(user_id: UUID) -> dict[str, Any]:
    found: dict[str, Any] = Conversation.objects.owned_by(user_id).aggregate(
        total=Count("id"),
        favorites=Count("id", filter=Q(is_favorited=True)),
        archived=Count("id", filter=Q(is_archived=True)),
        temporary=Count("id", filter=Q(expires_at__isnull=False, deleted_at__isnull=True)),
        in_trash=Count("id", filter=Q(deleted_at__isnull=False)),
        unlisted=Count("id", filter=Q(is_listed=False)),
        sessions=Count("id", filter=Q(session_id__isnull=False)),
        first_created_at=Min("created_at"),
        last_activity_at=Max("updated_at"),
    )
    return found


def _messages(user_id: UUID) -> dict[str, Any]:
    found: dict[str, Any] = Message.objects.filter(conversation__user_id=user_id).aggregate(
        total=Count("id"),
        replies=Count("id", filter=Q(role="assistant")),
        running=Count("id", filter=Q(status="streaming")),
        failed=Count("id", filter=Q(status="failed")),
        interrupted=Count("id", filter=Q(status="interrupted")),
        thumbs_up=Count("id", filter=Q(feedback=1)),
        thumbs_down=Count("id", filter=Q(feedback=-1)),
    )
    return found


def _usage(user_id: UUID) -> dict[str, Any]:
    """Return what deletion does not change."""
    found = UsageTotal.objects.filter(user_id=user_id).aggregate(
        messages=Sum("messages"),
        replies=Sum("replies"),
        tokens=Sum("tokens"),
        prompt_tokens=Sum("prompt_tokens"),
        first_at=Min("bucket"),
        last_at=Max("bucket"),
    )
    return {name: value if name.endswith("_at") else int(value or 0) for name, value in found.items()}


def _holds(user_id: UUID) -> list[dict[str, Any]]:
    """Return the holds in force, without their reasons: not all who may run a command may see those."""
    return [
        {"hold": hold.pk, "conversation_id": hold.conversation_id, "since": hold.placed_at, "until": hold.ends_at}
        for hold in holds_on_user(user_id)[:MOST_HOLDS]
    ]


def _retention_days(user_id: UUID) -> int | None:
    """Return the days of the rule about this user's conversations. None: there is no such rule, or it keeps for ever."""
    return RetentionRule.objects.filter(user_id=user_id).values_list("days", flat=True).first()
