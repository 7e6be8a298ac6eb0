"""What an Idempotency-Key has begun: a repeated request follows that, and starts anew only where it came to nothing.

A send or an edit keeps its key on the user message that it saved, a regeneration on its reply. A reply came to nothing where
it failed or was interrupted before its first word: there was nothing that a client could have been shown.
"""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db.models import BooleanField, Case, Value, When

from conversations.exceptions import IdempotencyMismatch
from conversations.models import Role
from conversations.querysets import VOID, MessageQuerySet


@dataclass(frozen=True, slots=True)
class Earlier:
    """The question and the reply that an earlier request with the same key has led to."""

    asked_id: UUID
    # None where the answer was deleted.
    reply_id: UUID | None
    is_void: bool


def fingerprint_of(*parts: Any) -> str:
    """Return what tells whether two requests with one key are the same."""
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def find_earlier(messages: MessageQuerySet, key: str, fingerprint: str) -> Earlier | None:
    """Return what this key has begun in a conversation, None where it is new or "". Raises `IdempotencyMismatch`."""
    if not key:
        return None
    keyed = messages.filter(idempotency_key=key).values("id", "role", "parent_id", "request_fingerprint").first()
    if keyed is None:
        return None
    require_same(keyed["request_fingerprint"], fingerprint)
    if keyed["role"] == Role.USER:
        return read_earlier(messages, keyed["id"])
    return _earlier(messages.filter(id=keyed["id"]), keyed["parent_id"])


def read_earlier(messages: MessageQuerySet, asked_id: UUID) -> Earlier:
    """Return the reply that a repeated request for this question follows: its first one that came to something."""
    return _earlier(messages.filter(parent_id=asked_id).replies(), asked_id)


def require_same(earlier_fingerprint: str | None, fingerprint: str) -> None:
    """Raises `IdempotencyMismatch` where a key was used for another request."""
    if earlier_fingerprint != fingerprint:
        raise IdempotencyMismatch


def _earlier(replies: MessageQuerySet, asked_id: UUID) -> Earlier:
    is_void = Case(When(VOID, then=Value(True)), default=Value(False), output_field=BooleanField())
    found = replies.annotate(is_void=is_void).order_by("is_void", "created_at", "id").values_list("id", "is_void").first()
    reply_id, was_void = found or (None, True)
    return Earlier(asked_id=asked_id, reply_id=reply_id, is_void=was_void)
