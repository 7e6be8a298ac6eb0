"""Pruning: deleting history that is no longer wanted, under a running service.

Principle: what is deleted was chosen twice. A batch is a window of ids (see `walking`); those that match and that nobody
holds are locked, and then asked again, because what a condition says of *other* rows (a reply that has just begun, a newer
conversation) may have changed before the lock was there. FOR UPDATE keeps new messages out until the end: inserting one
takes a share lock on its conversation's key. A batch is one transaction, so whatever ends a run, a conversation is there
with all its messages or gone with all of them, and a run that is repeated goes on where the last one ended.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from conversations.models import Conversation
from conversations.querysets import ConversationQuerySet
from conversations.services.history.archive import Archive
from conversations.services.history.delete import delete_with_messages
from conversations.services.history.id_arrays import ids_of
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE, Walk, pause, prefer_indexes
from conversations.services.history.json_lines import history_lines

# The first batch is small: nobody knows yet how long a conversation is.
FIRST_BATCH = 100
LARGEST_BATCH = 10_000
# How long a batch should hold its locks. Large batches are what makes pruning nearly as fast as one plain DELETE.
BATCH_S = 0.07
# A row apart from its text: header, ids, times, numbers.
MESSAGE_ROW_BYTES = 150
CONVERSATION_ROW_BYTES = 150

MEASURE_SQL = """
SELECT count(*), coalesce(sum(pg_column_size(content)), 0) FROM messages WHERE conversation_id = ANY(%s::uuid[])
"""
INDEX_SHARE_SQL = """
SELECT pg_indexes_size(oid) / greatest(reltuples, %s, 1) FROM pg_class WHERE oid = %s::regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneCriteria:
    """Which conversations to prune; each criterion narrows the others."""

    older_than: datetime | None = None
    user_id: UUID | None = None
    statuses: tuple[str, ...] = ()
    is_empty: bool = False
    is_anonymous: bool = False
    is_expired: bool = False
    keep_last: int | None = None
    include_favorites: bool = False

    @property
    def chooses(self) -> bool:
        """Whether there is anything that chooses: including favourites does not."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "include_favorites")


@dataclass(slots=True)
class PruneResult:
    """What a run has deleted so far, or, of a dry run, would delete."""

    conversations: int = 0
    messages: int = 0
    examined: int = 0
    batches: int = 0
    estimated_bytes: int = 0
    # False where the run was stopped before it had seen everything.
    is_complete: bool = False


def matching(criteria: PruneCriteria) -> ConversationQuerySet:
    """Return the conversations that a run may delete: never one with a running reply or, by age, with a newer message."""
    rows = _likely(criteria)
    return rows if criteria.older_than is None else rows.without_message_since(criteria.older_than)


def _likely(criteria: PruneCriteria) -> ConversationQuerySet:
    """Return what matches, or would but for a newer message: to look for those costs as much as all the rest."""
    rows = _candidates(criteria).without_running_reply()
    if criteria.older_than is not None:
        rows = rows.inactive_since(criteria.older_than)
    if criteria.is_expired:
        rows = rows.expired()
    if not criteria.include_favorites:
        rows = rows.filter(is_favorited=False)
    if criteria.is_empty:
        rows = rows.empty()
    if criteria.statuses:
        rows = rows.last_reply_ended(criteria.statuses)
    if criteria.keep_last is not None:
        rows = rows.beyond_newest(criteria.keep_last)
    return rows


def prune_history(
    *,
    criteria: PruneCriteria,
    largest_batch: int = LARGEST_BATCH,
    pause_s: float = 0.0,
    archive: Archive | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[PruneResult], None] = lambda result: None,
) -> PruneResult:
    """Delete what matches, in transactions of about `BATCH_S`, until nothing is left or `should_stop`.

    A batch is of `largest_batch` conversations at most. With an archive each batch is on disk before it is deleted. Several
    runs at once share the work. Raises `ValueError` where no criterion was given.
    """
    walk = _walk(criteria, min(FIRST_BATCH, largest_batch))
    result = PruneResult()
    while not should_stop():
        started_at = time.monotonic()
        window, conversations, messages = _prune_window(walk, criteria, archive)
        walk.batch_size = next_batch_size(walk.batch_size, time.monotonic() - started_at, largest_batch)
        if not window:
            result.is_complete = True
            break
        result.examined += window
        result.conversations += conversations
        result.messages += messages
        result.batches += 1
        on_batch(result)
        pause(pause_s, should_stop)
    return result


def measure(
    *,
    criteria: PruneCriteria,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[PruneResult], None] = lambda result: None,
) -> PruneResult:
    """Count what `prune_history` would delete, and estimate the space; changes and locks nothing."""
    walk = _walk(criteria, DEFAULT_BATCH_SIZE)
    result = PruneResult()
    text_bytes = 0
    while not should_stop():
        with transaction.atomic(), connection.cursor() as cursor:
            prefer_indexes()
            window = walk.next_window()
            found = ids_of(matching(criteria).with_ids(window.text))
            cursor.execute(MEASURE_SQL, [found.text])
            messages, size = cursor.fetchone()
        if not window:
            result.is_complete = True
            break
        result.examined += len(window)
        result.conversations += len(found)
        result.messages += messages
        text_bytes += size
        result.batches += 1
        on_batch(result)
    result.estimated_bytes = text_bytes + _row_bytes(result)
    return result


def _candidates(criteria: PruneCriteria) -> ConversationQuerySet:
    """Return what an index finds by itself."""
    if criteria.user_id is not None:
        return Conversation.objects.owned_by(criteria.user_id)
    if criteria.is_anonymous:
        return Conversation.objects.owned_by(None)
    # Nobody keeps anonymous conversations by number, so a number alone does not condemn them either.
    keeps_only = criteria == PruneCriteria(keep_last=criteria.keep_last, include_favorites=criteria.include_favorites)
    return Conversation.objects.filter(user_id__isnull=False) if keeps_only else Conversation.objects.all()


def _walk(criteria: PruneCriteria, batch_size: int) -> Walk:
    if not criteria.chooses:
        raise ValueError("nothing says which conversations to prune")
    candidates = _candidates(criteria)
    if criteria.is_expired:
        return Walk(candidates.expired(), batch_size=batch_size, time_field="expires_at")
    return Walk(candidates, batch_size=batch_size, before=criteria.older_than)


def _prune_window(walk: Walk, criteria: PruneCriteria, archive: Archive | None) -> tuple[int, int, int]:
    """Prune the next window; return how many conversations it held, and how many conversations and messages are deleted."""
    with transaction.atomic():
        prefer_indexes()
        window = walk.next_window()
        if not window:
            return 0, 0, 0
        likely = _likely(criteria).with_ids(window.text)
        locked = ids_of(likely.select_for_update(skip_locked=True, of=("self",)))
        chosen = ids_of(matching(criteria).with_ids(locked.text))
        if not chosen:
            return len(window), 0, 0
        if archive is None:
            return len(window), *delete_with_messages(chosen)
        # What the archive took stays there even if the commit fails: then nobody knows whether the rows are gone.
        with archive.batch(history_lines(chosen)):
            return len(window), *delete_with_messages(chosen)


def next_batch_size(size: int, took_s: float, largest: int) -> int:
    """Return how many conversations a batch should have after one of `size` that took so long: twice as many at most."""
    fits = round(size * BATCH_S / max(took_s, 0.001))
    return max(1, min(fits, 2 * size, largest))


def _row_bytes(result: PruneResult) -> int:
    with connection.cursor() as cursor:
        cursor.execute(INDEX_SHARE_SQL, [result.messages, "messages"])
        message_bytes = MESSAGE_ROW_BYTES + cursor.fetchone()[0]
        cursor.execute(INDEX_SHARE_SQL, [result.conversations, "conversations"])
        conversation_bytes = CONVERSATION_ROW_BYTES + cursor.fetchone()[0]
    return int(result.messages * message_bytes + result.conversations * conversation_bytes)
