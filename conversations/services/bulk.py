"""Change many conversations of a user at once.

Principle: batches. Each batch is a short transaction that locks its conversations in the order of their ids and checks again
that they match, so sends to other conversations go on, and two calls never wait for each other in a circle. `change_all` walks
from the least recent activity on: a conversation that gets a turn meanwhile moves ahead of the walk and is not missed. All
actions may be repeated. A call that ends early, also by a failure of the database, says what was done and where to go on.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from django.db import DatabaseError, connection, transaction
from django.db.models import Value

from conversations.bulk_actions import TAG_ACTIONS
from conversations.expressions import fold
from conversations.keyset import SortKey, after_key
from conversations.models import Conversation
from conversations.querysets import ConversationQuerySet
from conversations.services.conversations import remove_conversations, stop_running_replies, trash_begins_at
from conversations.services.history.holds import refusing_held
from conversations.tags import MAX_TAGS, tag_key, tags_by_key

logger = logging.getLogger(__name__)

BATCH = 200
# How many conversations one call looks at, and after how long it begins no further batch.
MOST_EXAMINED = 10_000
LONGEST_S = 20.0
MOST_LEFT_OUT_NAMED = 200
NOT_FOUND, TOO_MANY_TAGS, ON_HOLD = "not_found", "too_many_tags", "on_hold"

SET_TAGS_SQL = """
UPDATE conversations SET tags = given.tags, tag_keys = given.tag_keys
FROM json_to_recordset(%s::json) AS given (id uuid, tags text[], tag_keys text[])
WHERE conversations.id = given.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Choose among a user's listed conversations, with the parameters of the list. `q` is text that titles contain."""

    favorited: bool | None = None
    archived: bool | None = None
    tag: str = ""
    q: str = ""
    # All of the user's listed conversations, archived or not.
    is_everything: bool = False

    def candidates(self, user_id: UUID, action: str) -> ConversationQuerySet:
        """Return those that an index finds in the order of their activity."""
        is_archived = action == "unarchive" if self.archived is None else self.archived
        owned = Conversation.objects.owned_by(user_id)
        if self.is_everything:
            return owned.listed()
        if action == "restore":
            chosen = {"is_favorited": self.favorited, "is_archived": self.archived}
            return owned.in_trash(trash_begins_at()).filter(**{k: v for k, v in chosen.items() if v is not None})
        return owned.in_list(is_archived=is_archived, is_favorited=self.favorited, is_tagged=bool(self.tag))

    def matching(self, candidates: ConversationQuerySet) -> ConversationQuerySet:
        if self.tag:
            candidates = candidates.tagged([tag_key(self.tag)])
        return candidates.titled_with(Value(fold(self.q))) if self.q else candidates


@dataclass(slots=True)
class BulkResult:
    """What was done. `last` is the key of the last conversation that was looked at, if there may be more."""

    changed: int = 0
    unchanged: int = 0
    left_out: dict[UUID, str] = field(default_factory=dict)
    left_out_count: int = 0
    last: SortKey | None = None

    def leave_out(self, conversation_id: UUID, code: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < MOST_LEFT_OUT_NAMED:
            self.left_out[conversation_id] = code


Change = Callable[[ConversationQuerySet, BulkResult], None]


def change_some(*, user_id: UUID, conversation_ids: Sequence[UUID], action: str, tags: Sequence[str] = ()) -> BulkResult:
    """Change these conversations, at most MOST_IDS, in one transaction. Others than the user's are left out."""
    result = BulkResult()
    owned = Conversation.objects.visible_to(user_id)
    if action == "restore":
        owned |= Conversation.objects.owned_by(user_id).in_trash(trash_begins_at())
    owned = owned.filter(id__in=conversation_ids)
    found = set(owned.values_list("id", flat=True))
    _change(action, tags)(owned.filter(id__in=found), result)
    for conversation_id in conversation_ids:
        if conversation_id not in found:
            result.leave_out(conversation_id, NOT_FOUND)
    return result


def change_all(
    *, user_id: UUID, filters: Filters, action: str, tags: Sequence[str] = (), after: SortKey | None = None
) -> BulkResult:
    """Change all listed conversations that match, after the `last` of an earlier call. Looks at MOST_EXAMINED at most."""
    result = BulkResult()
    change = _change(action, tags)
    candidates = filters.candidates(user_id, action)
    walked = _behind(candidates, after)
    keys = list(walked.order_by("updated_at", "id").values_list("updated_at", "id")[: MOST_EXAMINED + 1])
    ends_at = time.monotonic() + LONGEST_S
    done = after
    for batch in _batches(keys[:MOST_EXAMINED]):
        if done is not after and time.monotonic() > ends_at:
            result.last = done
            return result
        try:
            change(filters.matching(candidates.filter(id__in=[conversation_id for _, conversation_id in batch])), result)
        except DatabaseError:
            if done is after:
                raise
            # What was done is committed, and the client must learn of it.
            logger.warning("a bulk change ended early", exc_info=True)
            result.last = done
            return result
        done = SortKey(*batch[-1])
    if len(keys) > MOST_EXAMINED:
        result.last = done
    return result


def count_candidates(*, user_id: UUID, filters: Filters, action: str, after: SortKey | None) -> int:
    """Return at how many conversations `change_all` would look."""
    return _behind(filters.candidates(user_id, action), after)[:MOST_EXAMINED].count()


def _behind(candidates: ConversationQuerySet, after: SortKey | None) -> ConversationQuerySet:
    return candidates if after is None else candidates.filter(after_key(after, "updated_at", descending=False))


def _batches(keys: Sequence[tuple[Any, UUID]]) -> Iterator[Sequence[tuple[Any, UUID]]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]


def _change(action: str, tags: Sequence[str]) -> Change:
    """Return the function that changes a batch."""
    if action == "delete":
        return _delete
    if action == "restore":
        return _restore
    if action in TAG_ACTIONS:
        wanted = tags_by_key(tags)
        return lambda rows, result: _set_tags(rows, result, wanted, adds=action == "tag")
    return lambda rows, result: _set_archived(rows, result, is_archived=action == "archive")


def _locked(rows: ConversationQuerySet) -> ConversationQuerySet:
    return rows.select_for_update(no_key=True).order_by("id")


def _delete(rows: ConversationQuerySet, result: BulkResult) -> None:
    held = set(rows.on_hold().values_list("id", flat=True))
    ids = [one for one in rows.values_list("id", flat=True) if one not in held]
    # Not one transaction: it waits until running replies have stopped.
    stop_running_replies(conversation_ids=ids)
    with refusing_held():
        remove_conversations(Conversation.objects.filter(id__in=ids))
    result.changed += len(ids)
    for conversation_id in held:
        result.leave_out(conversation_id, ON_HOLD)


def _restore(rows: ConversationQuerySet, result: BulkResult) -> None:
    with transaction.atomic():
        found = dict(_locked(rows).values_list("id", "deleted_at"))
        removed = [conversation_id for conversation_id, deleted_at in found.items() if deleted_at is not None]
        Conversation.objects.filter(id__in=removed).update(deleted_at=None, expires_at=None)
    result.changed += len(removed)
    result.unchanged += len(found) - len(removed)


def _set_archived(rows: ConversationQuerySet, result: BulkResult, *, is_archived: bool) -> None:
    with transaction.atomic():
        found = dict(_locked(rows).values_list("id", "is_archived"))
        other = [conversation_id for conversation_id, was_archived in found.items() if was_archived != is_archived]
        Conversation.objects.filter(id__in=other).update(is_archived=is_archived)
    result.changed += len(other)
    result.unchanged += len(found) - len(other)


def _set_tags(rows: ConversationQuerySet, result: BulkResult, wanted: dict[str, str], *, adds: bool) -> None:
    changes: list[dict[str, Any]] = []
    left_out: list[UUID] = []
    with transaction.atomic():
        found = list(_locked(rows).values_list("id", "tags", "tag_keys"))
        for conversation_id, tags, keys in found:
            before = dict(zip(keys or (), tags or (), strict=False))
            after = {**wanted, **before} if adds else {key: tag for key, tag in before.items() if key not in wanted}
            if len(after) > max(MAX_TAGS, len(before)):
                left_out.append(conversation_id)
            elif after.keys() != before.keys():
                # Tags that are new come last.
                ordered = {**before, **after} if adds else after
                changes.append(
                    {"id": str(conversation_id), "tags": list(ordered.values()) or None, "tag_keys": list(ordered) or None}
                )
        if changes:
            with connection.cursor() as cursor:
                cursor.execute(SET_TAGS_SQL, [orjson.dumps(changes).decode()])
    result.changed += len(changes)
    result.unchanged += len(found) - len(changes) - len(left_out)
    for conversation_id in left_out:
        result.leave_out(conversation_id, TOO_MANY_TAGS)
