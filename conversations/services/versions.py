"""Choosing which of several answers, or of several versions of a turn, counts."""

from uuid import UUID

from django.db import transaction
from django.db.models import Q

from conversations.exceptions import ConversationNotFound, GenerationInProgress, MessageNotFound, NotTheLastTurn
from conversations.models import Conversation, Message, Role
from conversations.querysets import MessageQuerySet
from conversations.services.replies import make_active


def activate_message(*, conversation_id: UUID, user_id: UUID | None, message_id: UUID) -> None:
    """Make an answer the one that counts, or switch the last turn to another version of what was asked.

    Raises `ConversationNotFound`, `MessageNotFound`, `GenerationInProgress`, `NotTheLastTurn`.
    """
    with transaction.atomic():
        # The same lock that a new turn takes: what is switched here must not be what a send is just reading.
        locked = Conversation.objects.owned_by(user_id).filter(id=conversation_id).select_for_update(no_key=True)
        if not locked.values_list("id", flat=True):
            raise ConversationNotFound
        messages = Message.objects.in_conversation(conversation_id)
        chosen = messages.filter(id=message_id).only("id", "role", "parent_id", "is_active").first()
        if chosen is None or chosen.role == Role.SYSTEM:
            raise MessageNotFound
        running = messages.running().values_list("id", flat=True).first()
        if running is not None:
            raise GenerationInProgress(message_id=str(running))
        if chosen.is_active:
            return
        if chosen.role == Role.USER:
            _switch_turn(messages, chosen)
        elif chosen.parent_id and messages.active_branch().filter(id=chosen.parent_id).exists():
            make_active(conversation_id=conversation_id, parent_id=chosen.parent_id, reply_id=chosen.id)
        else:
            # Its question is not the version that counts; that one has to be switched first.
            raise NotTheLastTurn


def _switch_turn(messages: MessageQuerySet, chosen: Message) -> None:
    first_id = chosen.parent_id or chosen.id
    last = messages.active_branch().filter(role=Role.USER).newest_first().only("id", "parent_id").first()
    if last is None or (last.parent_id or last.id) != first_id:
        raise NotTheLastTurn
    messages.filter(Q(id=last.id) | Q(parent_id=last.id, role=Role.ASSISTANT)).update(is_active=False)
    # Of its answers, the newest with text counted last, or would have.
    answers = messages.filter(parent_id=chosen.id, role=Role.ASSISTANT)
    newest = answers.exclude(content="").newest_first().values_list("id", flat=True).first()
    newest = newest or answers.newest_first().values_list("id", flat=True).first()
    messages.filter(id__in=[each for each in (chosen.id, newest) if each]).update(is_active=True)
