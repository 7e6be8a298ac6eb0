"""Fork a conversation: a new one with the active branch up to a message."""

from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, Func, IntegerField, Sum
from django.db.models.functions import Coalesce

from conversations.exceptions import ConversationNotFound, ConversationTooLong, MessageNotFound
from conversations.models import MAX_TITLE_CHARACTERS, Conversation, Message
from conversations.new_ids import new_id
from conversations.placeholders import TEXT_SQL
from conversations.querysets import MessageQuerySet
from conversations.services.conversations import require_conversation
from conversations.services.replies.versions import read_tree
from conversations.services.sending.creation_keys import Made, create_once
from conversations.services.user_directory import requires_known_user

TITLE_SQL = f"left(coalesce(%(title)s, title), {MAX_TITLE_CHARACTERS})"
CONVERSATION_SQL = f"""
INSERT INTO conversations (id, user_id, title, title_source, model_tag, assistant_id, expires_at, forked_from)
SELECT %(new_id)s, user_id, {TITLE_SQL}, CASE WHEN %(title)s IS NULL THEN title_source ELSE 'user' END, model_tag, assistant_id,
       expires_at, id
FROM conversations WHERE id = %(id)s
"""  # noqa: S608  # only a constant goes into it
# New ids, and links between the copies. The ids are in the order of the branch, because the predecessor's messages may have the
# same time. Rows say when they were said, and who brought or made them; what was measured, rated or counted stays with the
# originals.
MESSAGES_SQL = f"""
WITH copied AS (
    SELECT *, lag(id) OVER (ORDER BY place) AS before_id
    FROM messages
    JOIN unnest(%(ids)s::uuid[], %(new_ids)s::uuid[]) WITH ORDINALITY AS wanted (wanted_id, new_id, place)
        ON wanted.wanted_id = messages.id
)
INSERT INTO messages (id, conversation_id, role, content, reasoning, reasoning_before_text, model_tag, token_count,
                      inference_time_ms, created_at, status, parent_id, follows_id, error_code, finish_reason, context, source,
                      tool_calls)
SELECT copied.new_id, %(new_id)s, copied.role, {TEXT_SQL.replace("content", "copied.content")}, copied.reasoning,
       copied.reasoning_before_text, copied.model_tag, copied.token_count, copied.inference_time_ms, copied.created_at,
       copied.status,
       CASE WHEN copied.role = 'assistant' THEN before.new_id END, CASE WHEN copied.role <> 'assistant' THEN before.new_id END,
       copied.error_code, copied.finish_reason, copied.context, copied.source, copied.tool_calls
FROM copied LEFT JOIN copied AS before ON before.id = copied.before_id
"""  # noqa: S608  # only a constant goes into it


def octets(column: str) -> Func:
    """Return the bytes of a text, which PostgreSQL knows without reading it."""
    return Func(column, function="octet_length", output_field=IntegerField())


# Of the calls of tools, the bytes that are stored.
CALLS_SIZE = Func("tool_calls", function="pg_column_size", output_field=IntegerField())
SIZE = octets("content") + octets("reasoning") + Coalesce(CALLS_SIZE, 0)
# 10,000 take half a second.
MOST_MESSAGES = 10_000


def measure_branch(*, conversation_id: UUID, user_id: UUID) -> tuple[int, int]:
    """Return how many messages the active branch has, and the bytes of their texts and calls.

    Raises `ConversationNotFound`, `ConversationTooLong`.
    """
    require_conversation(conversation_id=conversation_id, user_id=user_id)
    # In order: see `History.count`.
    branch = Message.objects.in_conversation(conversation_id).active_branch().order_by("created_at")
    sizes = branch.annotate(size=SIZE).values("size")
    measured = sizes[: MOST_MESSAGES + 1].aggregate(count=Count("*"), bytes=Sum("size"))
    if measured["count"] > MOST_MESSAGES:
        raise ConversationTooLong
    return measured["count"], measured["bytes"] or 0


def fork_conversation(
    *, conversation_id: UUID, user_id: UUID, message_id: UUID | None, title: str | None, idempotency_key: str = ""
) -> Made:
    """Copy the active branch up to a message into a new conversation, and return it. Without `message_id`, all of it.

    For a message that is not active: the branch that leads to it. A running reply is not copied. Requests with one key make one
    fork. Raises `ConversationNotFound`, `MessageNotFound`, `IdempotencyMismatch`, `UnknownUser`.
    """

    def fork() -> UUID:
        found = Conversation.objects.visible_to(user_id).filter(id=conversation_id).select_for_update(no_key=True)
        if not found.values_list("id", flat=True):
            raise ConversationNotFound
        ids = _branch(Message.objects.in_conversation(conversation_id), message_id)
        made_id = new_id()
        values: dict[str, Any] = {"id": conversation_id, "new_id": made_id, "title": title, "ids": ids}
        values["new_ids"] = [new_id() for _ in ids]
        with connection.cursor() as cursor:
            cursor.execute(CONVERSATION_SQL, values)
            cursor.execute(MESSAGES_SQL, values)
        return made_id

    with requires_known_user(), transaction.atomic():
        if not idempotency_key:
            return Made(fork())
        request: list[object] = ["fork", str(conversation_id), message_id and str(message_id), title]
        return create_once(user_id, idempotency_key, request, fork)


def _branch(messages: MessageQuerySet, message_id: UUID | None) -> list[UUID]:
    tree = read_tree(messages)
    if message_id is None:
        path = list(messages.active_branch().oldest_first().values_list("id", flat=True))
    elif message_id in tree:
        path = tree.path_to(tree[message_id])
    else:
        raise MessageNotFound
    running = set(messages.running().values_list("id", flat=True))
    return [step for step in path if step not in running]
