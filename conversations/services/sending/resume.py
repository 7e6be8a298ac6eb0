"""Find the turn that a reconnecting client has begun.

Some client libraries repeat the POST of a send when its connection breaks, or when the user returns to a page in the
background. They send the id of the last event that they have read, and usually no Idempotency-Key. A request with such an id
continues an earlier one, so it must not begin another reply.
"""

from uuid import UUID

from conversations.models import Conversation, Message
from conversations.querysets import MessageQuerySet
from conversations.services.replies.keyed import find_keyed_reply, newest_reply
from conversations.services.replies.versions import last_question
from conversations.services.sending.retries import first_reply
from conversations.services.sending.turn import Turn


def find_begun_continuation(*, conversation_id: UUID, user_id: UUID | None, reply_id: UUID) -> Turn | None:
    """Return the last continuation of a reply, or None if it was never continued."""
    if not Conversation.objects.visible_to(user_id).filter(id=conversation_id).exists():
        return None
    continued = Message.objects.in_conversation(conversation_id).filter(id=reply_id, continuations__isnull=False)
    asked_id = continued.values_list("parent_id", flat=True).first()
    if asked_id is None:
        return None
    return Turn(conversation_id=conversation_id, user_message_id=asked_id, reply_id=reply_id, request=None)


def find_begun_turn(*, conversation_id: UUID, user_id: UUID | None, content: str | None, idempotency_key: str) -> Turn | None:
    """Return the turn of this key, or, without a key, the last turn if it has the same question. None if there is none.

    `content` is None for a regeneration, which has no question.
    """
    if not Conversation.objects.visible_to(user_id).filter(id=conversation_id).exists():
        return None
    messages = Message.objects.in_conversation(conversation_id)
    reply = find_keyed_reply(messages, idempotency_key) if idempotency_key else _last_reply(messages, content)
    if reply is None or reply.parent_id is None:
        return None
    return Turn(conversation_id=conversation_id, user_message_id=reply.parent_id, reply_id=reply.id, request=None)


def _last_reply(messages: MessageQuerySet, content: str | None) -> Message | None:
    asked = last_question(messages)
    if asked is None or content not in (None, asked.content):
        return None
    # Later answers to a question were asked for by regenerating.
    return newest_reply(messages, asked.id) if content is None else first_reply(messages, asked.id)
