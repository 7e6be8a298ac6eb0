"""Choosing which of several answers, or of several versions of a turn, counts.

Which answer counts belongs to its version of the turn: when another version is switched to, the messages that counted until
then are marked `was_active`, and they count again when their version does.
"""

from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from conversations.exceptions import ConversationNotFound, GenerationInProgress, MessageNotFound, NotTheLastTurn
from conversations.models import Conversation, Message, Role, Status
from conversations.querysets import MessageQuerySet


def activate_message(*, conversation_id: UUID, user_id: UUID | None, message_id: UUID) -> None:
    """Make an answer the one that counts, or switch the last turn to another version of what was asked.

    Raises `ConversationNotFound`, `MessageNotFound`, `GenerationInProgress`, `NotTheLastTurn`.
    """
    with transaction.atomic():
        # The same lock that a new turn takes: what is switched here must not be what a send is just reading.
        locked = Conversation.objects.visible_to(user_id).filter(id=conversation_id).select_for_update(no_key=True)
        if not locked.values_list("id", flat=True):
            raise ConversationNotFound
        messages = Message.objects.in_conversation(conversation_id)
        chosen = messages.filter(id=message_id).only("id", "role", "parent_id", "is_active").first()
        if chosen is None or chosen.role == Role.SYSTEM:
            raise MessageNotFound
        running = messages.running().values_list("id", flat=True).first()
        if running is not None:
            raise GenerationInProgress(running)
        if chosen.is_active:
            return
        if chosen.role == Role.USER:
            last = last_question(messages)
            if last is None or first_version(last) != first_version(chosen):
                raise NotTheLastTurn
            switch_version(messages, leaving=last, to_id=chosen.id)
        elif chosen.parent_id and messages.active_branch().filter(id=chosen.parent_id).exists():
            _make_active(conversation_id=conversation_id, parent_id=chosen.parent_id, reply_id=chosen.id)
        else:
            # Its question is not the version that counts; that one has to be switched first.
            raise NotTheLastTurn


def last_question(messages: MessageQuerySet) -> Message | None:
    """Return the last user message that counts. One query."""
    asked = messages.active_branch().filter(role=Role.USER).newest_first()
    return asked.only("id", "parent_id", "content", "created_at").first()


def first_version(asked: Message) -> UUID:
    """Return the id of a turn's first question, which all later versions of it name."""
    return asked.parent_id or asked.id


def switch_version(messages: MessageQuerySet, *, leaving: Message, to_id: UUID) -> None:
    """Make another version of a turn count in place of the one that does, with the answer that counted when it last did.

    `leaving` is the question that counts. Runs in the caller's transaction.
    """
    first_id = first_version(leaving)
    questions = Q(id=first_id) | Q(parent_id=first_id, role=Role.USER)
    answers = Q(parent_id=leaving.id, role=Role.ASSISTANT)
    messages.filter(questions | answers).update(was_active=F("is_active"), is_active=False)
    chosen = [to_id, _answer_that_counted(messages, to_id)]
    messages.filter(id__in=[message_id for message_id in chosen if message_id]).update(is_active=True)


def _make_active(*, conversation_id: UUID, parent_id: UUID, reply_id: UUID) -> None:
    """Make one of the answers to a user message the one that counts. Runs in the caller's transaction."""
    answers = Message.objects.filter(conversation_id=conversation_id, parent_id=parent_id, role=Role.ASSISTANT)
    answers.exclude(id=reply_id).filter(is_active=True).update(is_active=False)
    answers.filter(id=reply_id).update(is_active=True)


def _answer_that_counted(messages: MessageQuerySet, asked_id: UUID) -> UUID | None:
    """Return the answer that counted when this question last did.

    Rows from before that was remembered don't tell: there it is the newest one that would have become active by itself.
    """
    preference = Case(
        When(was_active=True, then=Value(0)),
        When(~Q(content=""), status__in=(Status.COMPLETE, Status.STOPPED), then=Value(1)),
        When(~Q(content=""), then=Value(2)),
        default=Value(3),
    )
    answers = messages.filter(parent_id=asked_id).replies().alias(preference=preference)
    return answers.order_by("preference", "-created_at", "-id").values_list("id", flat=True).first()
