"""Erase everything that this service stores about one user.

It can't reach what other services store (the auth service's account, the inference service's logs), nor archives, exports and
backups. The receipt says so.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.utils import timezone

from chatapi.auth.remembered_tokens import forget_tokens_of
from conversations.models import ChatUser, Conversation, Message, StaffAccess
from conversations.services.history.delete import delete_with_messages
from conversations.services.history.files.id_arrays import ids_of
from conversations.services.history.holds import refuse_held_user, refusing_held
from conversations.services.history.id_batches import prefer_indexes
from conversations.services.history.tombstones import bury, erased_among
from conversations.services.history.user_tables import USER_TABLES
from conversations.services.replies.stop import stop_running_reply
from conversations.services.webhooks.outbox import note_user_erased

BATCH_SIZE = 500
ERASED = "(erased)"


@dataclass(slots=True)
class Receipt:
    """How many rows were erased. It contains nothing of their content."""

    user_id: UUID
    erased_at: datetime
    conversations: int = 0
    messages: int = 0
    replies_stopped: int = 0
    directory_entries: int = 0
    # Quarters of an hour in which the user used the service.
    usage_totals: int = 0
    # What `/api/changes` tells of the user's conversations.
    changes: int = 0
    # The user's own limits of tokens: 0 or 1.
    quotas: int = 0
    # The user's own instructions: 0 or 1.
    instructions: int = 0
    # Entries of the admin's log whose titles and names were removed.
    admin_log_entries: int = 0
    # The records of which staff read the user's conversations. They stay, and contain only ids.
    access_records_kept: int = 0
    # None without a shared cache: each worker then remembers tokens in its own memory.
    remembered_tokens: int | None = None
    # Workers remember the user's id, and whether they are an admin, at most until this time.
    tokens_forgotten_by: datetime | None = None
    is_complete: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "not_covered": ["the auth service's account", "exports, archives and backups", "logs (they hold the id alone)"],
        }


def is_erased_user(*, user_id: UUID) -> bool:
    """Return whether an earlier `erase_user` has left a tombstone for the user."""
    return bool(erased_among([user_id]))


def count_of_user(*, user_id: UUID) -> Receipt:
    """Count what `erase_user` would erase. The receipt is not marked complete."""
    receipt = Receipt(user_id=user_id, erased_at=timezone.now())
    receipt.messages = Message.objects.filter(conversation__user_id=user_id).count()
    for table in USER_TABLES:
        if table.counted_as and table.when_erased != "kept":
            setattr(receipt, table.counted_as, table.count(user_id))
    return receipt


def erase_user(
    *,
    user_id: UUID,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[Receipt], None] = lambda receipt: None,
) -> Receipt:
    """Stop the user's running replies, delete all their conversations and forget the user. Safe to repeat.

    Close the account at the auth service first: a user with a valid token can create new conversations. Raises `OnHold` if the
    user or one of their conversations is on hold: before anything is done or, if the hold comes later, before that batch.
    """
    refuse_held_user(user_id, with_conversations=True)
    receipt = Receipt(user_id=user_id, erased_at=timezone.now())
    # First, so that an import that runs meanwhile leaves the user out.
    bury(user_id)
    owned = Conversation.objects.owned_by(user_id)
    while window := list(owned.order_by("id").values_list("id", flat=True)[:BATCH_SIZE]):
        if should_stop():
            return receipt
        running = Message.objects.running().filter(conversation_id__in=window)
        for conversation_id in running.values_list("conversation_id", flat=True):
            receipt.replies_stopped += stop_running_reply(conversation_id) is not None
        _erase_batch(window, receipt)
        on_batch(receipt)
    refuse_held_user(user_id)
    # Tokens first: a request with a forgotten token writes the user's entry in the directory again.
    receipt.remembered_tokens = forget_tokens_of(user_id)
    if receipt.remembered_tokens is None:
        receipt.tokens_forgotten_by = timezone.now() + timedelta(seconds=settings.AUTH_CACHE_SECONDS)
    _blank_searches_for(user_id)
    with transaction.atomic():
        # Also of a user who is moved to another cell: see migration 0063.
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('chat_api.moves', 'allowed', true)")
        for table in USER_TABLES:
            if table.when_erased == "deleted":
                deleted = table.delete(user_id)
                if table.counted_as:
                    setattr(receipt, table.counted_as, deleted)
            elif table.when_erased == "kept" and table.counted_as:
                setattr(receipt, table.counted_as, table.count(user_id))
        if not owned.exists():
            note_user_erased(user_id)
    receipt.admin_log_entries += _blank_admin_log(ChatUser, [user_id])
    receipt.erased_at = timezone.now()
    receipt.is_complete = not owned.exists()
    return receipt


def _blank_searches_for(user_id: UUID) -> None:
    """Blank the user's address in what staff searched for and gave as a reason. It reads the whole record, once per erasure."""
    email = ChatUser.objects.filter(id=user_id).values_list("email", flat=True).first()
    if email:
        StaffAccess.objects.filter(search__iexact=email).update(search=ERASED)
        StaffAccess.objects.filter(reason__icontains=email).update(reason=ERASED)


def _erase_batch(window: list[UUID], receipt: Receipt) -> None:
    with refusing_held(), transaction.atomic():
        prefer_indexes()
        # Unlike pruning, this waits for writers. No message can be added to a locked conversation.
        locked = Conversation.objects.filter(id__in=window).select_for_update(of=("self",)).order_by("id")
        conversations, messages = delete_with_messages(ids_of(locked))
        receipt.admin_log_entries += _blank_admin_log(Conversation, window)
    receipt.conversations += conversations
    receipt.messages += messages


def _blank_admin_log(model: type[Any], ids: list[UUID]) -> int:
    """Remove the titles and names of these rows from the admin's log. The entries stay."""
    content_type = ContentType.objects.get_for_model(model)
    entries = LogEntry.objects.filter(content_type=content_type, object_id__in=[str(row_id) for row_id in ids])
    return entries.exclude(object_repr=ERASED).update(object_repr=ERASED, change_message="")
