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
# An earlier failed reply is shown if it is among this many newest messages.
STATUSES_READ = 20


@dataclass(frozen=True, slots=True)
class Summary:
    email: str
    messages: int
    last_status: str
    last_error: str
    # The statuses of the newest messages, newest first.
    statuses: tuple[str, ...] = ()

    @property
    def message_count(self) -> str:
        return f"{MOST_COUNTED_MESSAGES:,}+" if self.messages > MOST_COUNTED_MESSAGES else f"{self.messages:,}"

    @property
    def earlier_trouble(self) -> str:
        """Say that an earlier reply failed or was interrupted, where the last one does not show it."""
        if self.last_status in (Status.FAILED, Status.INTERRUPTED):
            return ""
        found = [status for status in self.statuses if status in (Status.FAILED, Status.INTERRUPTED)]
        return f"Earlier: {Status(found[0]).label.lower()}" if found else ""

    @property
    def last_status_label(self) -> str:
        return Status(self.last_status).label if self.last_status else ""


NOTHING_KNOWN = Summary(email="", messages=0, last_status="", last_error="")


def summaries_of(conversation_ids: Sequence[UUID]) -> dict[UUID, Summary]:
    """Return the summaries of a page of conversations. One query, with at most 1,001 index entries for each."""
    counted = Message.objects.filter(conversation_id=OuterRef("pk")).values("conversation_id")[: MOST_COUNTED_MESSAGES + 1]
    newest = Message.objects.filter(conversation_id=OuterRef("pk")).newest_first()
    rows = Conversation.objects.filter(id__in=conversation_ids).values_list(
        "id",
        Subquery(ChatUser.objects.filter(id=OuterRef("user_id")).values("email")[:1]),
        Func(ArraySubquery(counted), function="cardinality", output_field=IntegerField()),
        Subquery(last_reply().values("status")[:1]),
        Subquery(last_reply().values("error_code")[:1]),
        ArraySubquery(newest.values("status")[:STATUSES_READ]),
    )
    return {
        row_id: Summary(
            email=email or "", messages=messages, last_status=status or "", last_error=error or "", statuses=tuple(statuses)
        )
        for row_id, email, messages, status, error, statuses in rows
    }
