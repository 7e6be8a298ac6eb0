"""Find what an earlier request with the same Idempotency-Key has begun.

A repeated request follows the earlier turn. It begins a new reply only if the earlier one is void: it failed or was interrupted
without text, so no client was shown any of it. A send or an edit stores its key on its user message, a regeneration on its
reply.
"""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db.models import BooleanField, Case, Exists, OuterRef, Q, Value, When

from conversations.exceptions import IdempotencyMismatch
from conversations.models import Message, Role
from conversations.querysets import VOID, MessageQuerySet

# A retry began this reply in place of a void one, and took the key with it (see `turn.ReplySettings.summary_of`).
RESTARTED = Q(context__restarted=True)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The question and the reply of an earlier request with the same key."""

    asked_id: UUID
    # None if the answer was deleted.
    reply_id: UUID | None
    is_void: bool
    # Whether this is another reply than the one that the first request with the key began.
    is_another: bool


def fingerprint_of(*parts: Any) -> str:
    """Return a hash of a request. Requests with one key must have the same hash."""
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def find_earlier(messages: MessageQuerySet, key: str, fingerprint: str) -> Earlier | None:
    """Return the turn of this key in a conversation, or None if the key is new or "". Raises `IdempotencyMismatch`."""
    if not key:
        return None
    keyed = messages.filter(idempotency_key=key).values("id", "role", "parent_id", "request_fingerprint").first()
    if keyed is None:
        return None
    require_same(keyed["request_fingerprint"], fingerprint)
    if keyed["role"] == Role.USER:
        return read_earlier(messages, keyed["id"])
    return _earlier(messages.filter(id=keyed["id"]), keyed["parent_id"], is_another=RESTARTED)


def read_earlier(messages: MessageQuerySet, asked_id: UUID) -> Earlier:
    """Return the reply that a repeated request for this question follows: the first one that is not void."""
    older = messages.filter(parent_id=asked_id, created_at__lt=OuterRef("created_at")).replies()
    return _earlier(messages.filter(parent_id=asked_id).replies(), asked_id, is_another=RESTARTED | Q(Exists(older)))


def require_same(earlier_fingerprint: str | None, fingerprint: str) -> None:
    """Raises `IdempotencyMismatch` if the key was used for another request."""
    if earlier_fingerprint != fingerprint:
        raise IdempotencyMismatch


def first_reply(messages: MessageQuerySet, asked_id: UUID) -> Message | None:
    replies = messages.filter(parent_id=asked_id).replies().order_by("created_at", "id")
    return replies.only("id", "role", "parent_id").first()


def _earlier(replies: MessageQuerySet, asked_id: UUID, *, is_another: Q) -> Earlier:
    judged = replies.annotate(is_void=_is(VOID), is_another=_is(is_another)).order_by("is_void", "created_at", "id")
    reply_id, was_void, another = judged.values_list("id", "is_void", "is_another").first() or (None, True, False)
    return Earlier(asked_id=asked_id, reply_id=reply_id, is_void=was_void, is_another=another)


def _is(condition: Q) -> Case:
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())
