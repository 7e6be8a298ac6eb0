"""Choose the active one of several answers, or of several versions of a turn.

Each version of a turn remembers its active answer. Switching to another version marks the messages that were active as
`was_active`; they become active again together with their version.
"""

from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, Value, When

from conversations.exceptions import ConversationNotFound, GenerationInProgress, MessageNotFound, NotTheLastTurn
from conversations.models import Conversation, Message, Role, Status
from conversations.placeholders import WITHOUT_TEXT
from conversations.querysets import MessageQuerySet


def activate_message(*, conversation_id: UUID, user_id: UUID | None, message_id: UUID) -> None:
    """Make an answer the active one, or switch the last turn to another version of its question.

    Raises `ConversationNotFound`, `MessageNotFound`, `GenerationInProgress`, `NotTheLastTurn`.
    """
    with transaction.atomic():
        # A new turn takes the same lock, so no send reads the history while this changes it.
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
            # Its question is not active. The client must activate that version first.
            raise NotTheLastTurn


def last_question(messages: MessageQuerySet) -> Message | None:
    """Return the last active user message. One query."""
    asked = messages.active_branch().filter(role=Role.USER).newest_first()
    return asked.only("id", "parent_id", "content", "created_at").first()


def first_version(asked: Message) -> UUID:
    """Return the id of a turn's first question, the parent of all later versions."""
    return asked.parent_id or asked.id


def switch_version(messages: MessageQuerySet, *, leaving: Message, to_id: UUID) -> None:
    """Make another version of a turn active, with the answer that was active with it before.

    `leaving` is the active question. Runs in the caller's transaction.
    """
    first_id = first_version(leaving)
    questions = Q(id=first_id) | Q(parent_id=first_id, role=Role.USER)
    answers = Q(parent_id=leaving.id, role=Role.ASSISTANT)
    messages.filter(questions | answers).update(was_active=F("is_active"), is_active=False)
    chosen = [to_id, _answer_that_counted(messages, to_id)]
    messages.filter(id__in=[message_id for message_id in chosen if message_id]).update(is_active=True)


def activate_newest_answer(messages: MessageQuerySet, asked_id: UUID) -> None:
    """Make the newest answer to a question active, if none is. Prefer one with text. Runs in the caller's transaction."""
    answers = messages.filter(parent_id=asked_id).replies()
    if not answers.active_branch().exists():
        is_empty = Case(When(WITHOUT_TEXT, then=Value(True)), default=Value(False))
        ranked = answers.alias(is_empty=is_empty).order_by("is_empty", "-created_at", "-id")
        answers.filter(id__in=list(ranked.values_list("id", flat=True)[:1])).update(is_active=True)


def _make_active(*, conversation_id: UUID, parent_id: UUID, reply_id: UUID) -> None:
    """Make one of the answers to a user message the active one. Runs in the caller's transaction."""
    answers = Message.objects.filter(conversation_id=conversation_id, parent_id=parent_id, role=Role.ASSISTANT)
    answers.exclude(id=reply_id).filter(is_active=True).update(is_active=False)
    answers.filter(id=reply_id).update(is_active=True)


def _answer_that_counted(messages: MessageQuerySet, asked_id: UUID) -> UUID | None:
    """Return the answer that was active when this question was.

    If no answer is marked, because the rows are older than `was_active`, prefer the newest complete or stopped one with text.
    """
    preference = Case(
        When(was_active=True, then=Value(0)),
        When(~WITHOUT_TEXT, status__in=(Status.COMPLETE, Status.STOPPED), then=Value(1)),
        When(~WITHOUT_TEXT, then=Value(2)),
        default=Value(3),
    )
    answers = messages.filter(parent_id=asked_id).replies().alias(preference=preference)
    return answers.order_by("preference", "-created_at", "-id").values_list("id", flat=True).first()
