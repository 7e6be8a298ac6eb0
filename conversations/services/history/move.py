"""Give everything of one user to another: for accounts that are merged, or that another identity provider names anew.

Principle: batches, each a short transaction that locks its conversations. What has been moved no longer belongs to the first
user, so a run can be interrupted and repeated, and needs no memory of how far it came. A running reply goes on, and its end
counts for the new owner. What the new owner has stays: a session's name is changed, limits and instructions are not.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from conversations.models import Conversation, Message
from conversations.services.history.holds import refuse_held_user
from conversations.services.history.id_batches import prefer_indexes
from conversations.services.history.user_tables import BY_NAME, USER_TABLES, UserTable
from conversations.services.usage.model_totals import merge_models_sql
from conversations.session_names import free_name

BATCH_SIZE = 500
USAGE_BATCH = 2_000
# How often a batch is tried again because its new owner has just used a session's name.
MOST_TRIES = 5
ONE_ROW_TABLES = [table for table in USER_TABLES if table.when_moved == "one row"]

MOVE_SQL = """
UPDATE conversations SET user_id = %(to)s, session_id = given.session_id
FROM unnest(%(ids)s::uuid[], %(names)s::text[]) AS given (id, session_id)
WHERE conversations.id = given.id AND conversations.user_id = %(from)s
"""
# An Idempotency-Key that the new owner has used too stays behind and is deleted: each is good for a day.
KEYS_SQL = """
UPDATE creation_keys AS key SET user_id = %(to)s
WHERE user_id = %(from)s
  AND NOT EXISTS (SELECT FROM creation_keys AS other WHERE other.user_id = %(to)s AND other.key = key.key)
"""
USAGE_SQL = f"""
WITH taken AS (
    DELETE FROM usage_totals WHERE user_id = %(from)s AND bucket IN (
        SELECT bucket FROM usage_totals WHERE user_id = %(from)s ORDER BY bucket LIMIT %(most)s
    ) RETURNING bucket, messages, replies, tokens, prompt_tokens, inference_time_ms, by_model
)
INSERT INTO usage_totals AS total (user_id, bucket, messages, replies, tokens, prompt_tokens, inference_time_ms, by_model)
SELECT %(to)s, bucket, messages, replies, tokens, prompt_tokens, inference_time_ms, by_model FROM taken
ON CONFLICT (user_id, bucket) DO UPDATE SET messages = total.messages + excluded.messages,
    replies = total.replies + excluded.replies, tokens = total.tokens + excluded.tokens,
    prompt_tokens = total.prompt_tokens + excluded.prompt_tokens,
    inference_time_ms = total.inference_time_ms + excluded.inference_time_ms,
    by_model = {merge_models_sql("total.by_model", "excluded.by_model", "{} + {}")}
"""  # noqa: S608  # only constants go into it


@dataclass(slots=True)
class MoveReceipt:
    """How many rows were moved. It contains nothing of their content."""

    from_user: UUID
    to_user: UUID
    moved_at: datetime
    conversations: int = 0
    messages: int = 0
    # Conversations whose session has another name now, because the new owner has a session of that name.
    sessions_renamed: int = 0
    # Quarters of an hour in which the first user used the service. Quotas count them for the new owner.
    usage_totals: int = 0
    # The first user's own limits and instructions: moved where the new owner had none, else deleted.
    quotas_moved: int = 0
    quotas_deleted: int = 0
    instructions_moved: int = 0
    instructions_deleted: int = 0
    is_complete: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "not_covered": [
                "the entry in the directory of users",
                "the records of which staff read the conversations",
                "exports, archives and backups",
            ],
        }


def count_to_move(*, from_user: UUID, to_user: UUID) -> MoveReceipt:
    """Count what `move_history` would move. The receipt is not marked complete."""
    receipt = MoveReceipt(from_user=from_user, to_user=to_user, moved_at=timezone.now())
    receipt.conversations = Conversation.objects.owned_by(from_user).count()
    receipt.messages = Message.objects.filter(conversation__user_id=from_user).count()
    names = Conversation.objects.owned_by(from_user).filter(session_id__isnull=False).values("session_id")
    receipt.sessions_renamed = Conversation.objects.owned_by(to_user).filter(session_id__in=names).count()
    receipt.usage_totals = BY_NAME["usage_totals"].count(from_user)
    for table in ONE_ROW_TABLES:
        fate = "deleted" if table.has(to_user) else "moved"
        setattr(receipt, f"{table.counted_as}_{fate}", table.count(from_user))
    return receipt


def move_history(
    *,
    from_user: UUID,
    to_user: UUID,
    batch_size: int = BATCH_SIZE,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[MoveReceipt], None] = lambda receipt: None,
) -> MoveReceipt:
    """Move conversations with their messages, usage, limits and instructions. Safe to repeat.

    Close the first account at the auth service before: a user with a valid token can create new conversations. Raises `OnHold`
    if the first user or one of their conversations is on hold.
    """
    assert from_user != to_user
    refuse_held_user(from_user, with_conversations=True)
    receipt = MoveReceipt(from_user=from_user, to_user=to_user, moved_at=timezone.now())
    owned = Conversation.objects.owned_by(from_user)
    while window := list(owned.order_by("id").values_list("id", flat=True)[:batch_size]):
        if should_stop():
            return receipt
        _move_batch(window, receipt)
        on_batch(receipt)
    users = {"from": from_user, "to": to_user}
    while True:
        if should_stop():
            return receipt
        with connection.cursor() as cursor:
            cursor.execute(USAGE_SQL, {**users, "most": USAGE_BATCH})
            receipt.usage_totals += (moved := cursor.rowcount)
        if moved < USAGE_BATCH:
            break
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(KEYS_SQL, users)
        BY_NAME["creation_keys"].delete(from_user)
        for table in ONE_ROW_TABLES:
            _move_own_row(table, receipt)
    receipt.moved_at = timezone.now()
    receipt.is_complete = not owned.exists()
    return receipt


def _move_batch(window: list[UUID], receipt: MoveReceipt) -> None:
    for tries_left in reversed(range(MOST_TRIES)):
        try:
            with transaction.atomic():
                moved, renamed = _move_locked(window, receipt)
                messages = Message.objects.filter(conversation_id__in=window).count()
        except IntegrityError as violation:
            # The new owner has begun a session with one of these names meanwhile.
            if not tries_left or not isinstance(violation.__cause__, psycopg.errors.UniqueViolation):
                raise
        else:
            receipt.conversations += moved
            receipt.sessions_renamed += renamed
            receipt.messages += messages
            return


def _move_locked(window: list[UUID], receipt: MoveReceipt) -> tuple[int, int]:
    """Return how many conversations were moved, and how many of them got another name."""
    prefer_indexes()
    # Waits for writers. No message can be added meanwhile.
    mine = Conversation.objects.owned_by(receipt.from_user).filter(id__in=window)
    names = dict(mine.select_for_update(no_key=True).order_by("id").values_list("id", "session_id"))
    wanted = {name for name in names.values() if name is not None}
    taken = _names_of(receipt.to_user, wanted)
    renamed = 0
    for conversation_id, name in names.items():
        if name is not None and name in taken:
            names[conversation_id] = other = free_name(name, lambda choices: _names_of(receipt.to_user, choices) | wanted)
            wanted.add(other)
            renamed += 1
    with connection.cursor() as cursor:
        values: dict[str, Any] = {
            "from": receipt.from_user,
            "to": receipt.to_user,
            "ids": list(names),
            "names": list(names.values()),
        }
        cursor.execute(MOVE_SQL, values)
        return cursor.rowcount, renamed


def _names_of(user_id: UUID, names: Iterable[str]) -> set[str]:
    """Return which of these names the user's sessions have, also those that have expired and are not pruned yet."""
    found = Conversation.objects.owned_by(user_id).filter(session_id__in=list(names))
    return {name for name in found.values_list("session_id", flat=True) if name is not None}


def _move_own_row(table: UserTable, receipt: MoveReceipt) -> None:
    """Move the row, or delete it if the new owner has one."""
    if table.has(receipt.to_user):
        setattr(receipt, f"{table.counted_as}_deleted", table.delete(receipt.from_user))
    else:
        setattr(receipt, f"{table.counted_as}_moved", table.give(receipt.from_user, receipt.to_user))
