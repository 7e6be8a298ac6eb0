"""Choose among versions of questions and answers anywhere. What a choice leaves is remembered (see `tree`)."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, Max, Q, Value, When

from conversations.exceptions import ConversationNotFound, GenerationInProgress, MessageNotFound
from conversations.keyset import SortKey, after_key
from conversations.models import Conversation, Message, Role
from conversations.placeholders import WITHOUT_TEXT
from conversations.querysets import MessageQuerySet
from conversations.services.replies.tree import GOOD, Changes, Node, Tree

# What is read of a question that a reply answers: a user's message, or the output of a tool.
QUESTION_COLUMNS = ("id", "parent_id", "follows_id", "content", "tool_calls", "created_at")
LINK_SQL = """
UPDATE messages SET parent_id = link.parent_id, follows_id = link.follows_id
FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS link (id, parent_id, follows_id)
WHERE messages.id = link.id
"""


def activate_message(*, conversation_id: UUID, user_id: UUID | None, message_id: UUID) -> None:
    """Make a message active, with the branch that it is on, as that was left.

    Raises `ConversationNotFound`, `MessageNotFound`, `GenerationInProgress`.
    """
    with transaction.atomic():
        # A new turn takes the same lock, so no send reads the history while this changes it.
        locked = Conversation.objects.visible_to(user_id).filter(id=conversation_id).select_for_update(no_key=True)
        if not locked.values_list("id", flat=True):
            raise ConversationNotFound
        messages = Message.objects.in_conversation(conversation_id)
        chosen = messages.filter(id=message_id).only("id", "role", "is_active").first()
        if chosen is None or chosen.role == Role.SYSTEM:
            raise MessageNotFound
        running = messages.running().values_list("id", flat=True).first()
        if running is not None:
            raise GenerationInProgress(running)
        if not chosen.is_active:
            tree = read_tree(messages)
            apply_changes(messages, tree.choose(tree[chosen.id]))


def last_question(messages: MessageQuerySet) -> Message | None:
    """Return the last active user message. One query."""
    asked = messages.active_branch().filter(role=Role.USER).newest_first()
    return asked.only(*QUESTION_COLUMNS).first()


def first_version(asked: Message) -> UUID:
    """Return the id of a question's first version, the parent of all later ones."""
    return asked.parent_id or asked.id


def read_tree(messages: MessageQuerySet) -> Tree:
    """Read how the messages of a conversation follow each other. Save the links that rows of older versions lack.

    The caller holds the conversation's lock. Reads no texts: 10,000 messages take some 50 ms.
    """
    tree = load_tree(messages)
    if tree.links:
        with connection.cursor() as cursor:
            cursor.execute(LINK_SQL, [list(column) for column in zip(*tree.links, strict=True)])
    return tree


def load_tree(messages: MessageQuerySet) -> Tree:
    """Do what `read_tree` does, but save nothing. Needs no lock. One query."""
    has_text = Case(When(WITHOUT_TEXT, tool_calls__isnull=True, then=Value(False)), default=Value(True))
    columns = ("id", "role", "parent_id", "follows_id", "is_active", "was_active", "left_order", "status")
    return Tree(Node(*row) for row in messages.alias(has_text=has_text).oldest_first().values_list(*columns, has_text))


def apply_changes(messages: MessageQuerySet, changes: Changes) -> None:
    """Save what `Tree` says that a choice changes. Runs in the caller's transaction."""
    if changes.left:
        _leave(messages, Q(id__in=changes.left))
    if changes.activated:
        messages.filter(id__in=changes.activated).update(is_active=True)


def end_at(messages: MessageQuerySet, message_id: UUID) -> bool:
    """Make a message the last active one. Return whether that changed anything. Raises `MessageNotFound`.

    The caller holds the conversation's lock.
    """
    if messages.active_branch().newest_first().values_list("id", flat=True).first() == message_id:
        return False
    tree = read_tree(messages)
    if message_id not in tree:
        raise MessageNotFound
    apply_changes(messages, tree.end_at(tree[message_id]))
    return True


def leave_after(messages: MessageQuerySet, asked: Message, *, including: bool = False) -> None:
    """Leave what is active behind a question that is active itself, or the question too. Runs in the caller's transaction."""
    behind = after_key(SortKey(asked.created_at, asked.id), "created_at", descending=False)
    _leave(messages, behind | Q(id=asked.id) if including else behind)


def mark_versions(messages: MessageQuerySet, ids: Sequence[UUID]) -> None:
    """Note that these messages are not the only ones in their places, so that pages count their versions."""
    messages.filter(id__in=ids, has_versions=None).update(has_versions=True)


def versions_of_question(messages: MessageQuerySet, asked: Message) -> MessageQuerySet:
    first_id = first_version(asked)
    return messages.filter(Q(id=first_id) | Q(parent_id=first_id), role=Role.USER)


def _leave(messages: MessageQuerySet, which: Q) -> None:
    number = (messages.aggregate(last=Max("left_order"))["last"] or 0) + 1
    messages.active_branch().filter(which).update(is_active=False, was_active=True, left_order=number)


def activate_newest_answer(messages: MessageQuerySet, asked_id: UUID) -> None:
    """Make the newest answer to a question active, if none is. Prefer one that is whole to one that broke off or is empty.

    Runs in the caller's transaction.
    """
    answers = messages.filter(parent_id=asked_id).replies()
    if not answers.active_branch().exists():
        is_empty = When(WITHOUT_TEXT, tool_calls__isnull=True, then=Value(2))
        rank = Case(is_empty, When(status__in=GOOD, then=Value(0)), default=Value(1))
        ranked = answers.alias(rank=rank).order_by("rank", "-created_at", "-id")
        answers.filter(id__in=list(ranked.values_list("id", flat=True)[:1])).update(is_active=True)
