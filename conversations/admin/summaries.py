"""Summaries of the conversations on one page of a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Func, IntegerField, OuterRef, Subquery

from conversations.admin.filters import last_reply
from conversations.models import ChatUser, Conversation, Message, Status

# Counting stops here, so that a conversation with 100,000 messages does not slow the list down.
MOST_COUNTED_MESSAGES = 1_000


@dataclass(frozen=True, slots=True)
class Summary:
    email: str
    messages: int
    last_status: str
    last_error: str

    @property
    def message_count(self) -> str:
        return f"{MOST_COUNTED_MESSAGES:,}+" if self.messages > MOST_COUNTED_MESSAGES else f"{self.messages:,}"

    @property
    def last_status_label(self) -> str:
        return Status(self.last_status).label if self.last_status else ""


NOTHING_KNOWN = Summary(email="", messages=0, last_status="", last_error="")


def summaries_of(conversation_ids: Sequence[UUID]) -> dict[UUID, Summary]:
    """Return the summaries of a page of conversations. One query, with at most 1,001 index entries for each."""
    counted = Message.objects.filter(conversation_id=OuterRef("pk")).values("conversation_id")[: MOST_COUNTED_MESSAGES + 1]
    rows = Conversation.objects.filter(id__in=conversation_ids).values_list(
        "id",
        Subquery(ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1]),
        Func(ArraySubquery(counted), function="cardinality", output_field=IntegerField()),
        Subquery(last_reply().values("status")[:1]),
        Subquery(last_reply().values("error_code")[:1]),
    )
    return {
        row_id: Summary(email=email or "", messages=messages, last_status=status or "", last_error=error or "")
        for row_id, email, messages, status, error in rows
    }
