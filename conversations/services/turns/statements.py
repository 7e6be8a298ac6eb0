"""The SQL statements of a send, three or four, written by hand.

A send is what the service does most, and half of what it costs in Django is building SQL. Each statement stands for several
querysets of `conversations.querysets`; tests hold the two descriptions together.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection

from conversations.models import TEMPORARY_LIFETIME
from conversations.services.turns.context import Budget, HistoryRow
from conversations.services.usage import COUNT_TURN_SQL

# The lock that every verb takes first. Where a user's running replies are limited, their sends come one after the other
# from here on, or two would both see the last free place.
LOCK_SQL = """
SELECT c.title, c.title_source, c.model_tag, a.system_prompt, a.model_tag, a.temperature, a.max_tokens, a.top_k,
       CASE WHEN %(limited)s THEN pg_advisory_xact_lock(hashtextextended(%(lock_name)s, 0)) END
FROM conversations AS c LEFT JOIN assistants AS a ON a.id = c.assistant_id
WHERE c.id = %(conversation_id)s AND c.user_id IS NOT DISTINCT FROM %(user_id)s
  AND (c.expires_at IS NULL OR c.expires_at > statement_timestamp())
FOR NO KEY UPDATE OF c
"""

# After the lock, so that it sees what the last holder of the lock has committed.
SURVEY_SQL = """
SELECT running.id, running.is_abandoned, earlier.id, earlier.request_fingerprint, earlier.is_active, theirs.count,
       history.role, history.is_usable, history.length, history.beginning
FROM (
    SELECT CASE WHEN %(limited)s THEN (
        SELECT count(*) FROM messages AS m JOIN conversations AS c ON c.id = m.conversation_id
        WHERE m.status = 'streaming' AND c.user_id = %(user_id)s
    ) ELSE 0 END AS count
) AS theirs
LEFT JOIN LATERAL (
    SELECT id, heartbeat_at IS NULL
        OR heartbeat_at < statement_timestamp() - make_interval(secs => %(abandoned_after_s)s) AS is_abandoned
    FROM messages WHERE conversation_id = %(conversation_id)s AND status = 'streaming'
) AS running ON true
LEFT JOIN LATERAL (
    SELECT id, request_fingerprint, is_active FROM messages
    WHERE conversation_id = %(conversation_id)s AND idempotency_key = %(key)s
) AS earlier ON true
LEFT JOIN LATERAL (
    SELECT created_at, id, role, status <> 'failed' AND content <> '' AS is_usable, length(content) AS length,
           left(content, %(characters)s) AS beginning
    FROM messages WHERE conversation_id = %(conversation_id)s AND is_active AND status <> 'streaming'
    ORDER BY created_at DESC, id DESC LIMIT %(rows)s
) AS history ON true
ORDER BY history.created_at DESC, history.id DESC
"""

# Asked only where the history is longer than what goes upstream.
COUNT_SQL = """
SELECT count(*) FROM (
    SELECT 1 FROM messages
    WHERE conversation_id = %(conversation_id)s AND is_active AND status <> 'streaming' AND content <> ''
    LIMIT %(most)s
) AS counted
"""

# What every turn does to its conversation, whichever verb begins it.
TOUCH_SQL = """
UPDATE conversations SET updated_at = now(), title = coalesce(%(title)s, title),
    title_source = CASE WHEN %(title)s IS NULL THEN title_source ELSE 'auto' END,
    expires_at = CASE WHEN expires_at IS NOT NULL THEN now() + %(temporary_lifetime)s::interval END
WHERE id = %(conversation_id)s
"""

TOUCH_AND_COUNT_SQL = f"WITH touched AS ({TOUCH_SQL} RETURNING user_id) {COUNT_TURN_SQL}"

INSERT_SQL = f"""
WITH touched AS ({TOUCH_SQL} RETURNING user_id), counted AS ({COUNT_TURN_SQL})
INSERT INTO messages (id, conversation_id, role, content, model_tag, status, parent_id, heartbeat_at,
                      idempotency_key, request_fingerprint, context)
VALUES (%(message_id)s, %(conversation_id)s, 'user', %(content)s, NULL, 'complete', NULL, NULL,
        %(key)s, %(fingerprint)s, NULL),
       (%(reply_id)s, %(conversation_id)s, 'assistant', '', %(model_tag)s, 'streaming', %(message_id)s, now(),
        NULL, NULL, %(context)s)
"""  # noqa: S608  # only constants of this module go into it


@dataclass(frozen=True, slots=True)
class Survey:
    """What stands in a conversation when a send has its lock."""

    running_id: UUID | None
    is_abandoned: bool
    earlier_id: UUID | None
    earlier_fingerprint: str | None
    earlier_is_active: bool
    running_of_user: int
    history: list[HistoryRow]


def lock_conversation(conversation_id: UUID, user_id: UUID | None, *, limited: bool) -> tuple[Any, ...] | None:
    """Lock a user's conversation and return what decides how its replies are made; None where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            LOCK_SQL,
            {
                "conversation_id": conversation_id,
                "user_id": user_id,
                "limited": limited,
                "lock_name": f"generations:{user_id}",
            },
        )
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def survey_conversation(
    conversation_id: UUID, user_id: UUID | None, budget: Budget, *, idempotency_key: str, limited: bool
) -> Survey:
    """Look at all that a send depends on."""
    with connection.cursor() as cursor:
        cursor.execute(
            SURVEY_SQL,
            {
                "conversation_id": conversation_id,
                "user_id": user_id,
                "limited": limited,
                "key": idempotency_key or None,
                "abandoned_after_s": settings.ABANDONED_AFTER_SECONDS,
                "characters": budget.characters_to_read,
                "rows": budget.rows_to_read,
            },
        )
        rows = cursor.fetchall()
    running_id, is_abandoned, earlier_id, fingerprint, earlier_is_active, count = rows[0][:6]
    return Survey(
        running_id=running_id,
        is_abandoned=bool(is_abandoned),
        earlier_id=earlier_id,
        earlier_fingerprint=fingerprint,
        earlier_is_active=bool(earlier_is_active),
        running_of_user=count,
        history=[row[6:] for row in rows if row[6] is not None],
    )


def count_history_of(conversation_id: UUID, most: int) -> int:
    """Count the messages with text that came before a send, up to so many."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_SQL, {"conversation_id": conversation_id, "most": most})
        (count,) = cursor.fetchone()
    return int(count)


def touch_conversation(conversation_id: UUID, title: str | None, *, sent: int) -> None:
    """Note a turn on its conversation: its time, a temporary chat's new end, and, unless None, an automatic title.

    Count it as its user's: one reply, and `sent` messages.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            TOUCH_AND_COUNT_SQL,
            {"conversation_id": conversation_id, "title": title, "temporary_lifetime": str(TEMPORARY_LIFETIME), "sent": sent},
        )


def insert_turn(
    *,
    conversation_id: UUID,
    message_id: UUID,
    reply_id: UUID,
    content: str,
    title: str | None,
    model_tag: str,
    idempotency_key: str,
    fingerprint: str,
    receipt: dict[str, Any],
) -> None:
    """Save both messages of a turn, note it on its conversation and count it, as `touch_conversation` does."""
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT_SQL,
            {
                "conversation_id": conversation_id,
                "message_id": message_id,
                "reply_id": reply_id,
                "content": content,
                "title": title,
                "model_tag": model_tag,
                "key": idempotency_key or None,
                "fingerprint": fingerprint or None,
                "temporary_lifetime": str(TEMPORARY_LIFETIME),
                "sent": 1,
                "context": orjson.dumps(receipt).decode(),
            },
        )
