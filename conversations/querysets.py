"""Which rows: the questions that are asked of conversations and messages, each with an index that answers it."""

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

if TYPE_CHECKING:
    from conversations.models import Conversation, Message  # noqa: F401  # named in strings below


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def owned_by(self, user_id: UUID | None) -> "ConversationQuerySet":
        """Restrict to a user's conversations; None restricts to those of anonymous callers."""
        return self.filter(user_id__isnull=True) if user_id is None else self.filter(user_id=user_id)

    def listed(self) -> "ConversationQuerySet":
        """Leave out temporary chats."""
        return self.filter(expires_at__isnull=True)

    def newest_activity_first(self) -> "ConversationQuerySet":
        """Order as idx_conversations_user does: rows without a time, which only the predecessor wrote, come first."""
        return self.order_by("-updated_at", "-id")


class MessageQuerySet(models.QuerySet["Message"]):
    def in_conversation(self, conversation_id: UUID) -> "MessageQuerySet":
        return self.filter(conversation_id=conversation_id)

    def active_branch(self) -> "MessageQuerySet":
        """Restrict to the messages that count: of several answers or versions of a turn, the active one."""
        return self.filter(is_active=True)

    def oldest_first(self) -> "MessageQuerySet":
        return self.order_by("created_at", "id")

    def newest_first(self) -> "MessageQuerySet":
        return self.order_by("-created_at", "-id")

    def running(self) -> "MessageQuerySet":
        """Restrict to replies that are being written (answered by uq_messages_running)."""
        return self.filter(status="streaming")

    def abandoned(self) -> "MessageQuerySet":
        """Restrict to running replies whose worker is gone, by the database's clock: their heartbeat is too old."""
        oldest = Now() - timedelta(seconds=settings.ABANDONED_AFTER_SECONDS)
        return self.running().filter(Q(heartbeat_at__lt=oldest) | Q(heartbeat_at__isnull=True))

    def for_context(self) -> "MessageQuerySet":
        """Restrict to what the model should see: the active branch without failed, running and empty messages."""
        return self.active_branch().exclude(status__in=("failed", "streaming")).exclude(content="")
