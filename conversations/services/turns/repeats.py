"""Find the turn of a request that its client library repeats on its own, without an Idempotency-Key.

The `openai` packages repeat a request whose connection broke, with the same body and a count of the repetitions. This request
must not ask its question a second time. So a send stores a fingerprint of its body with the question, and a repetition follows
the newest turn with the same fingerprint.

A repetition comes soon after the request timed out, and the packages wait for ten minutes. If the first request was lost before
it arrived, and the same question was asked before it, then the repetition gets the earlier answer. A client that can't accept
that sends an Idempotency-Key.
"""

from datetime import timedelta
from uuid import UUID

from django.db.models.functions import Now

from conversations.models import Conversation, Message, Role
from conversations.services.turns.begin import Turn

REPEATED_WITHIN = timedelta(minutes=15)


def find_repeated_turn(*, user_id: UUID, fingerprint: str, conversation_id: UUID | None) -> Turn | None:
    """Return the newest turn of this fingerprint, in a conversation or, without one, in the user's unlisted conversations.

    None if there is none of the last 15 minutes.
    """
    conversations = Conversation.objects.visible_to(user_id)
    if conversation_id is None:
        conversations = conversations.filter(is_listed=False, updated_at__gte=Now() - REPEATED_WITHIN)
    else:
        conversations = conversations.filter(id=conversation_id)
    asked = Message.objects.filter(
        conversation_id__in=conversations.values("id"),
        role=Role.USER,
        request_fingerprint=fingerprint,
        created_at__gte=Now() - REPEATED_WITHIN,
    )
    found = asked.newest_first().values_list("id", "conversation_id").first()
    if found is None:
        return None
    asked_id, found_id = found
    replies = Message.objects.filter(parent_id=asked_id).replies()
    reply_id = replies.newest_first().values_list("id", flat=True).first()
    if reply_id is None:
        return None
    return Turn(conversation_id=found_id, user_message_id=asked_id, reply_id=reply_id, request=None)
