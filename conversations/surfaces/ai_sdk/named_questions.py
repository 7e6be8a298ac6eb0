"""Answer a question that the client names, where the client does not say exactly what it wants.

Clients of the AI SDK surface choose the ids of their messages, and keep the id of a message that they edit. They repeat a send
that failed as another kind of request, often without knowing whether the service has the question. So the service decides by
what it has: an unknown question is sent, one with another text is edited, and one with the same text gets another answer.
A send stores the client's id as the idempotency key of its message.
"""

from uuid import UUID

from conversations.exceptions import GenerationInProgress, NotTheLastTurn
from conversations.ids import parse_id
from conversations.models import Message, Role
from conversations.querysets import MessageQuerySet
from conversations.services.replies.versions import first_version, last_question
from conversations.services.sending.begin import Turn, edit_turn, regenerate_turn, start_turn
from inference_proxy.protocols.base import Sampling


def answer_again(
    *,
    conversation_id: UUID,
    user_id: UUID | None,
    idempotency_key: str,
    content: str,
    sampling: Sampling,
    follows_running: bool,
) -> Turn:
    """Begin another reply to the question that the client calls `idempotency_key`, with this text.

    If `follows_running` is set and a reply to this very text is running, return its turn. Raises `NotTheLastTurn`, and what
    `start_turn`, `edit_turn` and `regenerate_turn` raise.
    """
    messages = Message.objects.in_conversation(conversation_id)
    turn_id = _find_turn(messages, idempotency_key)
    if turn_id is None:
        # The request that should have sent it failed on its way.
        return start_turn(
            conversation_id=conversation_id,
            user_id=user_id,
            content=content,
            sampling=sampling,
            idempotency_key=idempotency_key,
        )
    last = _last_version(messages, turn_id)
    if follows_running and (running := _running_turn(messages, last, content)):
        return running
    try:
        if last.content == content:
            return regenerate_turn(conversation_id=conversation_id, user_id=user_id, sampling=sampling)
        return edit_turn(
            conversation_id=conversation_id, user_id=user_id, message_id=last.id, content=content, sampling=sampling
        )
    except GenerationInProgress:
        # A simultaneous request may have made the same edit.
        if follows_running and (running := _running_turn(messages, _last_version(messages, turn_id), content)):
            return running
        raise


def _find_turn(messages: MessageQuerySet, name: str) -> UUID | None:
    """Return the first version of the question with this name: its idempotency key or its id. None if it is unknown."""
    questions = messages.filter(role=Role.USER).only("id", "parent_id")
    found = questions.filter(idempotency_key=name).first()
    message_id = parse_id(name)
    if found is None and message_id is not None:
        found = questions.filter(id=message_id).first()
    return None if found is None else first_version(found)


def _last_version(messages: MessageQuerySet, turn_id: UUID) -> Message:
    """Return the active version of a turn's question. Raises `NotTheLastTurn` if another question came after it."""
    last = last_question(messages)
    if last is None or first_version(last) != turn_id:
        raise NotTheLastTurn("You can edit only your last message, and regenerate only the answer to it.")
    return last


def _running_turn(messages: MessageQuerySet, asked: Message, content: str) -> Turn | None:
    """Return the turn of the running reply to this question, if there is one and the question has this text."""
    if asked.content != content:
        return None
    running_id = messages.running().filter(parent_id=asked.id).values_list("id", flat=True).first()
    if running_id is None:
        return None
    return Turn(conversation_id=asked.conversation_id, user_message_id=asked.id, reply_id=running_id, request=None)
