"""Find the turn of a request that its client library repeats on its own, without an Idempotency-Key.

The `openai` packages repeat a request whose connection broke or that was refused, with the same body and a count of the
repetitions. This request must not ask its question a second time, nor get the answer to an earlier question in the same words.
So a send stores a fingerprint of its body with the question, and a repetition follows the newest turn with the same
fingerprint. The fingerprint is removed as soon as a client has the whole answer, or when the first of the equal requests is
refused: then the repetition that follows asks anew. A request that is refused before its body is read, because of its rate or
because of overload, costs no statement, so it is noted in the cache. Its repetition takes the note away: from then on there is
a turn that further repetitions must follow. A repetition that is refused changes nothing: the first request may have asked.

A repetition comes soon after the request timed out, and the packages wait for ten minutes. If the first request was lost before
it arrived, and the answer to the same question was not delivered whole just before, then the repetition gets that answer. A
client that can't accept that sends an Idempotency-Key.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.core.cache import cache
from django.db import connection
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.http import HttpRequest

from chatapi.auth.remembered_tokens import cache_key
from chatapi.database.connections import release_connections
from chatapi.incoming.request_bodies import DECLARED_LENGTH
from conversations.models import Conversation, Message, Role
from conversations.querysets import MessageQuerySet
from conversations.services.sending.turn import Turn

REPEATED_WITHIN = timedelta(minutes=15)
REFUSED = "refused:"
# The packages repeat a request that was refused after 8 s at most, or when Retry-After says.
UNSEEN_S = 120


@dataclass(frozen=True, slots=True)
class Same:
    """What equal requests have in common. `conversation_id` is None if they name no conversation."""

    user_id: UUID
    fingerprint: str
    conversation_id: UUID | None


def find_repeated_turn(same: Same) -> Turn | None:
    """Return the newest turn of this fingerprint, in a conversation or, without one, in all that the user has used lately.

    None if there is none of the last 15 minutes whose answer is missing.
    """
    found = _questions(same).newest_first().values_list("id", "conversation_id").first()
    if found is None:
        return None
    asked_id, found_id = found
    replies = Message.objects.filter(parent_id=asked_id).replies()
    reply_id = replies.newest_first().values_list("id", flat=True).first()
    if reply_id is None:
        return None
    return Turn(conversation_id=found_id, user_message_id=asked_id, reply_id=reply_id, request=None)


def wait_for_same_request(same: Same) -> None:
    """Wait until no other transaction begins a turn for the same request. Call it in the transaction that begins the turn."""
    with connection.cursor() as cursor:
        name = f"repeats:{same.user_id}:{same.fingerprint}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def note_delivered(turn: Turn) -> None:
    """Remember that a client has the whole answer of this turn, so that no repetition gets it again. At most one query."""
    asked = Message.objects.filter(id=turn.user_message_id, idempotency_key=None)
    asked.exclude(request_fingerprint=None).update(request_fingerprint=None)


def note_stream_delivered(turn: Turn) -> None:
    """Do what `note_delivered` does at the end of a stream, which holds no connection."""
    try:
        note_delivered(turn)
    finally:
        release_connections()


def note_refused(user_id: UUID, fingerprint: str) -> None:
    """Remember that a request was over its user's rate. Its repetition follows no turn that has ended."""
    cache.set(f"{REFUSED}{user_id}:{fingerprint}", True, REPEATED_WITHIN.total_seconds())


def note_unseen(request: HttpRequest) -> None:
    """Remember the same of a request whose user and body are not known, by what its repetition has in common with it."""
    cache.set(_unseen_key(request), True, UNSEEN_S)


def take_refusal(request: HttpRequest, user_id: UUID, fingerprint: str) -> bool:
    """Say whether the request that this one repeats was refused, and forget it."""
    keys = [f"{REFUSED}{user_id}:{fingerprint}", _unseen_key(request)]
    noted = [key for key in keys if cache.get(key) is not None]
    for key in noted:
        cache.delete(key)
    return bool(noted)


def _unseen_key(request: HttpRequest) -> str:
    fields = request.META
    length = fields.get(DECLARED_LENGTH) or fields.get("CONTENT_LENGTH", "")
    common = f"{fields.get('HTTP_AUTHORIZATION', '')} {request.path_info.rstrip('/')} {length}"
    # Of a token, only its hash is stored.
    return REFUSED + cache_key(common)


def forget_ended_turns(same: Same) -> None:
    """Let no repetition follow a turn of this fingerprint whose reply has ended."""
    running = Message.objects.running().filter(parent_id=OuterRef("id"))
    _questions(same).filter(~Exists(running), idempotency_key=None).update(request_fingerprint=None)


def _questions(same: Same) -> MessageQuerySet:
    conversations = Conversation.objects.visible_to(same.user_id)
    if same.conversation_id is None:
        conversations = conversations.filter(updated_at__gte=Now() - REPEATED_WITHIN)
    else:
        conversations = conversations.filter(id=same.conversation_id)
    return Message.objects.filter(
        conversation_id__in=conversations.values("id"),
        role=Role.USER,
        request_fingerprint=same.fingerprint,
        created_at__gte=Now() - REPEATED_WITHIN,
    )
