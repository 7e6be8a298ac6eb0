"""Find the conversation that a client goes on with, when it sends the whole history and names no conversation.

Principle: a reply keeps a hash of its branch, which is all that was said up to its question. Where the history that a client
sends ends with an answer of ours, the hash of what comes before that answer finds it. The hash includes the user, so it finds
nothing of others. White space at the ends of a message counts for nothing: clients trim texts.

The answer may be anywhere in its conversation: what is said now becomes a version of what followed. While a reply is running
there, the conversation takes no other turn, and the history begins a new one. Of several conversations, one that ends with the
answer is the first choice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from conversations.models import Conversation
from conversations.placeholders import TEXT_SQL
from conversations.services.sending.brought_messages import Said

# In the options of a reply. Migration 0038 indexes it.
BRANCH = "branch"
WHITE_SPACE = " \t\r\n"
# The same beginning may have been said any number of times.
MOST_CANDIDATES = 50
FIND_SQL = f"""
SELECT c.id, answer.id
FROM (
    SELECT conversation_id, parent_id, created_at FROM messages
    WHERE request_options ->> 'branch' = %(branch)s
    ORDER BY created_at DESC LIMIT {MOST_CANDIDATES}
) AS begun
JOIN conversations AS c ON c.id = begun.conversation_id
JOIN messages AS answer ON answer.parent_id = begun.parent_id AND answer.conversation_id = c.id AND answer.role = 'assistant'
WHERE c.user_id = %(user_id)s AND (c.expires_at IS NULL OR c.expires_at > statement_timestamp())
  AND (c.expires_at IS NOT NULL) = %(temporary)s AND btrim({TEXT_SQL}, %(white_space)s) = %(text)s
  AND coalesce(jsonb_path_query_array(answer.tool_calls, '$[*].id'), '[]') = %(call_ids)s::jsonb
  AND NOT EXISTS (SELECT FROM messages WHERE conversation_id = c.id AND status = 'streaming')
ORDER BY answer.id = (
    SELECT id FROM messages WHERE conversation_id = c.id AND is_active ORDER BY created_at DESC, id DESC LIMIT 1
) DESC, begun.created_at DESC
LIMIT 1
"""  # noqa: S608  # only constants go into it


@dataclass(frozen=True, slots=True)
class Branch:
    """A conversation, and the answer in it that a branch ends with."""

    conversation_id: UUID
    answer_id: UUID


def branch_of(user_id: UUID, said: Sequence[Said]) -> str:
    """Return the hash of what a user's branch says, oldest first."""
    branch = hashlib.sha256(user_id.bytes)
    for message in said:
        text = message.content.strip(WHITE_SPACE).encode()
        branch.update(b"%b %d " % (message.role.encode(), len(text)))
        branch.update(text)
        if message.calls or message.call_id:
            branch.update(orjson.dumps([message.call_id, *(call.id for call in message.calls)]))
    return branch.hexdigest()


def split_history(said: Sequence[Said]) -> tuple[Sequence[Said], Sequence[Said]]:
    """Return what was said up to the last answer, and what since."""
    answered = max((place for place, message in enumerate(said, 1) if message.role == "assistant"), default=0)
    return said[:answered], said[answered:]


def find_branch(user_id: UUID, history: Sequence[Said], *, temporary: bool) -> Branch | None:
    """Return the user's branch that says just this, or None. `history` ends with an answer. One query."""
    if len(history) < 2:
        return None
    values: dict[str, Any] = {
        "user_id": user_id,
        "branch": branch_of(user_id, history[:-1]),
        "text": history[-1].content.strip(WHITE_SPACE),
        "temporary": temporary,
        "white_space": WHITE_SPACE,
        # Clients may write the arguments anew.
        "call_ids": orjson.dumps([call.id for call in history[-1].calls]).decode(),
    }
    with connection.cursor() as cursor:
        cursor.execute(FIND_SQL, values)
        row = cursor.fetchone()
    return Branch(*row) if row else None


def lock_branch(user_id: UUID, history: Sequence[Said], *, temporary: bool) -> Branch | None:
    """Return what `find_branch` does, and lock its conversation, so that no other turn begins there."""
    found = find_branch(user_id, history, temporary=temporary)
    if found is None:
        return None
    locked = Conversation.objects.filter(id=found.conversation_id).select_for_update(no_key=True)
    # Another turn may have begun there in the meantime.
    is_there = locked.values_list("id", flat=True).first() is not None
    return found if is_there and find_branch(user_id, history, temporary=temporary) == found else None
