"""Prune: delete history that is no longer wanted, while the service runs.

Principle: the criteria are checked twice. A batch is a window of ids (see `id_batches`). The conversations in it that match and
are not locked by a writer are locked, and then checked again, because conditions on *other* rows (a new reply, a newer
conversation) may have changed before the lock. FOR UPDATE blocks new messages until the end, because inserting one takes a
share lock on its conversation's key. A batch is one transaction. So a run that breaks off leaves each conversation whole or
deletes all of it, and the next run continues from there.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from conversations.exceptions import OnHold
from conversations.models import Conversation
from conversations.querysets import ConversationQuerySet
from conversations.services.history.delete import delete_with_messages
from conversations.services.history.files.archive_file import ArchiveFile
from conversations.services.history.files.id_arrays import IdArray, ids_of
from conversations.services.history.files.json_lines import history_lines
from conversations.services.history.holds import has_holds, refusing_held
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE, Walk, pause, prefer_indexes
from conversations.tags import tag_key

# The first batch is small, because the length of the conversations is not known yet.
FIRST_BATCH = 100
LARGEST_BATCH = 10_000
# How long a batch should hold its locks. Large batches make pruning nearly as fast as one plain DELETE.
BATCH_S = 0.07
# A batch of fewer rows takes long only if the machine or its disk is busy. A smaller one would hold its locks as long.
SMALL_BATCH_ROWS = 2_000
CRITERION_NAMES = {
    "older_than": "older-than",
    "user_id": "user",
    "statuses": "status",
    "is_empty": "empty",
    "is_anonymous": "anonymous",
    "is_expired": "expired",
    "keep_last": "keep-last",
    "is_archived": "archived",
    "tag": "tag",
    "assistant_id": "assistant",
    "model_tag": "model",
}
# The size of a row without its text: header, ids, times, numbers.
MESSAGE_ROW_BYTES = 150
CONVERSATION_ROW_BYTES = 150

MEASURE_SQL = """
SELECT count(*), coalesce(sum(pg_column_size(content) + pg_column_size(reasoning)), 0)
FROM messages WHERE conversation_id = ANY(%s::uuid[])
"""
INDEX_SHARE_SQL = """
SELECT pg_indexes_size(oid) / greatest(reltuples, %s, 1) FROM pg_class WHERE oid = %s::regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Conversations that other rules are about, so that these criteria are not (see `retention`)."""

    users: tuple[UUID, ...] = ()
    assistants: tuple[UUID, ...] = ()
    model_tags: tuple[str, ...] = ()
    is_anonymous: bool = False

    def leave_out(self, rows: ConversationQuerySet) -> ConversationQuerySet:
        if self.users:
            rows = rows.filter(Q(user_id__isnull=True) | ~Q(user_id__in=self.users))
        if self.assistants:
            rows = rows.filter(Q(assistant_id__isnull=True) | ~Q(assistant_id__in=self.assistants))
        if self.model_tags:
            rows = rows.filter(Q(model_tag__isnull=True) | ~Q(model_tag__in=self.model_tags))
        return rows.filter(user_id__isnull=False) if self.is_anonymous else rows


NOTHING = Outside()


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
    is_archived: bool = False
    tag: str = ""
    assistant_id: UUID | None = None
    model_tag: str = ""
    outside: Outside = NOTHING
    include_favorites: bool = False

    @property
    def chooses(self) -> bool:
        """Whether any criterion is given. `include_favorites` alone is none."""
        return bool(self.names)

    @property
    def names(self) -> str:
        """The given criteria without their values, as the command names them: `older-than,empty`."""
        given = (field.name for field in fields(self) if field.name in CRITERION_NAMES and getattr(self, field.name))
        return ",".join(CRITERION_NAMES[name] for name in given)


@dataclass(slots=True)
class PruneResult:
    """What a run has deleted so far, or would delete if it is a dry run."""

    conversations: int = 0
    messages: int = 0
    examined: int = 0
    batches: int = 0
    # Conversations that match and stay, because they or their users are on hold.
    on_hold: int = 0
    estimated_bytes: int = 0
    # False if the run was stopped early.
    is_complete: bool = False


def matching(criteria: PruneCriteria) -> ConversationQuerySet:
    """Return the conversations that a run may delete: never one with a running reply, with a newer message or on hold."""
    return _chosen(criteria).without_hold()


def _chosen(criteria: PruneCriteria) -> ConversationQuerySet:
    """Return what matches, also what is on hold."""
    rows = _likely(criteria)
    if criteria.older_than is not None:
        rows = rows.without_message_since(criteria.older_than)
    if criteria.keep_last is not None:
        rows = rows.without_message_since_newest(criteria.keep_last)
    return rows


def _likely(criteria: PruneCriteria) -> ConversationQuerySet:
    """Return what matches, without the check for newer messages, which costs as much as all other checks."""
    rows = _candidates(criteria).without_running_reply()
    if criteria.older_than is not None:
        rows = rows.inactive_since(criteria.older_than)
    if criteria.is_expired:
        rows = rows.expired()
    if not criteria.include_favorites:
        rows = rows.filter(is_favorited=False)
    if criteria.is_archived:
        rows = rows.filter(is_archived=True)
    if criteria.tag:
        rows = rows.tagged([tag_key(criteria.tag)])
    rows = criteria.outside.leave_out(rows)
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
    archive: ArchiveFile | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[PruneResult], None] = lambda result: None,
) -> PruneResult:
    """Delete what matches, in transactions of about `BATCH_S`, until nothing is left or `should_stop` returns True.

    A batch has at most `largest_batch` conversations. With an archive, each batch is on disk before its rows are deleted.
    Several runs at once share the work. Raises `ValueError` if no criterion is given.
    """
    walk = _walk(criteria, min(FIRST_BATCH, largest_batch))
    result = PruneResult()
    while not should_stop():
        started_at = time.monotonic()
        try:
            window, conversations, messages, on_hold = _prune_window(walk, criteria, archive)
        except OnHold:
            # Something in it was put on hold at this moment. The next run takes the rest.
            continue
        took_s = time.monotonic() - started_at
        walk.batch_size = next_batch_size(walk.batch_size, window + messages, took_s, largest_batch)
        if not window:
            result.is_complete = True
            break
        result.examined += window
        result.conversations += conversations
        result.messages += messages
        result.on_hold += on_hold
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
    """Count what `prune_history` would delete, and estimate the space. Changes and locks nothing."""
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
            on_hold = _count_held(criteria, window)
        if not window:
            result.is_complete = True
            break
        result.examined += len(window)
        result.conversations += len(found)
        result.messages += messages
        result.on_hold += on_hold
        text_bytes += size
        result.batches += 1
        on_batch(result)
    result.estimated_bytes = text_bytes + _row_bytes(result)
    return result


def _candidates(criteria: PruneCriteria) -> ConversationQuerySet:
    """Return the conversations that an index can find."""
    if criteria.assistant_id is not None:
        return Conversation.objects.filter(assistant_id=criteria.assistant_id)
    if criteria.model_tag:
        return Conversation.objects.filter(model_tag=criteria.model_tag)
    if criteria.user_id is not None:
        return Conversation.objects.owned_by(criteria.user_id)
    if criteria.is_anonymous:
        return Conversation.objects.owned_by(None)
    # `keep_last` counts per user, so used alone it selects no anonymous conversations.
    keeps_only = criteria == PruneCriteria(keep_last=criteria.keep_last, include_favorites=criteria.include_favorites)
    return Conversation.objects.filter(user_id__isnull=False) if keeps_only else Conversation.objects.all()


def _walk(criteria: PruneCriteria, batch_size: int) -> Walk:
    if not criteria.chooses:
        raise ValueError("give at least one criterion")
    candidates = _candidates(criteria)
    if criteria.is_expired:
        return Walk(candidates.expired(), batch_size=batch_size, time_field="expires_at")
    return Walk(candidates, batch_size=batch_size, before=criteria.older_than)


def _count_held(criteria: PruneCriteria, window: IdArray) -> int:
    """Return how many conversations of a window match and are on hold. One query where nothing is on hold."""
    if not has_holds():
        return 0
    held = ids_of(Conversation.objects.with_ids(window.text).on_hold())
    return _chosen(criteria).with_ids(held.text).count() if held else 0


def _prune_window(walk: Walk, criteria: PruneCriteria, archive: ArchiveFile | None) -> tuple[int, int, int, int]:
    """Prune the next window. Return its size, how many conversations and messages were deleted, and how many are on hold.

    Raises `OnHold`, and deletes nothing, if something in it is put on hold at this moment.
    """
    with refusing_held(), transaction.atomic():
        prefer_indexes()
        window = walk.next_window()
        if not window:
            return 0, 0, 0, 0
        on_hold = _count_held(criteria, window)
        likely = _likely(criteria).without_hold().with_ids(window.text)
        locked = ids_of(likely.select_for_update(skip_locked=True, of=("self",)))
        chosen = ids_of(matching(criteria).with_ids(locked.text))
        if not chosen:
            return len(window), 0, 0, on_hold
        if archive is None:
            return len(window), *delete_with_messages(chosen), on_hold
        # If the commit fails, the batch stays in the archive, because its rows may be gone all the same.
        with closing(history_lines(chosen)) as lines, archive.batch(lines):
            return len(window), *delete_with_messages(chosen), on_hold


def next_batch_size(size: int, rows: int, took_s: float, largest: int) -> int:
    """Return the size of the next batch: at least half and at most twice the size of the last one, which took `took_s`."""
    fits = round(size * BATCH_S / max(took_s, 0.001))
    smallest = size if rows < SMALL_BATCH_ROWS else size // 2
    return max(1, min(max(fits, smallest), 2 * size, largest))


def _row_bytes(result: PruneResult) -> int:
    with connection.cursor() as cursor:
        cursor.execute(INDEX_SHARE_SQL, [result.messages, "messages"])
        message_bytes = MESSAGE_ROW_BYTES + cursor.fetchone()[0]
        cursor.execute(INDEX_SHARE_SQL, [result.conversations, "conversations"])
        conversation_bytes = CONVERSATION_ROW_BYTES + cursor.fetchone()[0]
    return int(result.messages * message_bytes + result.conversations * conversation_bytes)
