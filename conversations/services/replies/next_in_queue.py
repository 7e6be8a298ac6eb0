"""Give a queued message its turn: the statement that makes a question and an empty reply of it.

The statement runs in the transaction that ends the reply before it. That transaction may hold the reply's row but not the
conversation's lock, so the statement never waits: where somebody holds a lock that it needs, it does nothing, and a worker
tries again a moment later (see `sending.queue_keeper`). Everything else takes the conversation's lock first.

The reply belongs to the worker that runs the statement, which asks the inference service after the commit.
"""

import threading
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings

from chatapi.database.round_trips import Rows, Statement
from conversations.models import TEMPORARY_LIFETIME
from conversations.reply_duration import longest_reply_s
from conversations.services.replies.leases import lease
from conversations.services.usage.totals import COUNT_TURN_CTE, UNCOUNTED_SQL, note_uncounted

# Set when there may be something to do for this worker's `queue_keeper`.
queue_alarm = threading.Event()

# The first message that waits in a conversation where nothing runs, if its user may have another running reply. Another node's
# message may have the same key: a node of the version before does not see those that wait.
START_SQL = f"""
WITH head AS MATERIALIZED (
    SELECT queued.id, queued.conversation_id, queued.reply_id, queued.content, queued.place,
           queued.idempotency_key AS key, queued.request_fingerprint
    FROM queued_messages AS queued JOIN conversations ON conversations.id = queued.conversation_id
    WHERE queued.conversation_id = %(conversation_id)s AND NOT queued.is_started AND NOT queued.is_held
      AND (conversations.expires_at IS NULL OR conversations.expires_at > statement_timestamp())
      AND NOT EXISTS (
          SELECT FROM queued_messages AS earlier
          WHERE earlier.conversation_id = queued.conversation_id AND NOT earlier.is_started AND earlier.place < queued.place
      )
      AND NOT EXISTS (
          SELECT FROM messages WHERE messages.conversation_id = queued.conversation_id AND messages.status = 'streaming'
      )
      AND (%(most_of_user)s = 0 OR conversations.user_id IS NULL OR (
          pg_try_advisory_xact_lock(hashtextextended('generations:' || conversations.user_id::text, 0))
          AND %(most_of_user)s > (
              SELECT count(*) FROM messages JOIN conversations AS other ON other.id = messages.conversation_id
              WHERE messages.status = 'streaming' AND other.user_id = conversations.user_id
                AND other.updated_at > (SELECT now() - make_interval(secs => %(recent_s)s))
          )
      ))
    FOR NO KEY UPDATE OF conversations, queued SKIP LOCKED
), touched AS (
    UPDATE conversations SET updated_at = now(),
        expires_at = CASE WHEN expires_at IS NOT NULL THEN now() + %(temporary_lifetime)s::interval END
    FROM head WHERE conversations.id = head.conversation_id RETURNING conversations.user_id
), {COUNT_TURN_CTE},
place AS (
    SELECT greatest(now(), (
        SELECT created_at + interval '1 microsecond' FROM messages
        WHERE messages.conversation_id = head.conversation_id AND created_at < timestamptz '9999-01-01+00'
        ORDER BY created_at DESC LIMIT 1
    )) AS time FROM head
), last AS (
    SELECT message.id, message.created_at FROM head CROSS JOIN LATERAL (
        SELECT id, created_at FROM messages WHERE messages.conversation_id = head.conversation_id AND is_active
        ORDER BY created_at DESC, id DESC LIMIT 1
    ) AS message
), beside AS (
    SELECT coalesce(other.parent_id, other.id) AS id FROM head CROSS JOIN last JOIN messages AS other
      ON other.conversation_id = head.conversation_id AND other.created_at > last.created_at
      AND other.role = 'user' AND other.follows_id = last.id
    LIMIT 1
), marked AS (
    UPDATE messages SET has_versions = true FROM beside WHERE messages.id = beside.id AND messages.has_versions IS NULL
), started AS (
    UPDATE queued_messages SET is_started = true FROM head WHERE queued_messages.id = head.id
), saved AS (
    INSERT INTO messages (id, conversation_id, role, content, status, parent_id, follows_id, has_versions, heartbeat_at, worker,
                          idempotency_key, request_fingerprint, is_awaited, created_at)
    SELECT head.id, head.conversation_id, 'user', head.content, 'complete', (SELECT id FROM beside), (SELECT id FROM last),
           (SELECT true FROM beside), NULL::timestamptz, NULL::uuid,
           CASE WHEN NOT EXISTS (
               SELECT FROM messages WHERE messages.conversation_id = head.conversation_id AND idempotency_key = head.key
           ) THEN head.key END,
           head.request_fingerprint, NULL::boolean, (SELECT time FROM place)
    FROM head
    UNION ALL
    SELECT head.reply_id, head.conversation_id, 'assistant', '', 'streaming', head.id, NULL, NULL, 'infinity',
           %(worker)s::uuid, NULL, NULL, EXISTS (
               SELECT FROM queued_messages AS later
               WHERE later.conversation_id = head.conversation_id AND later.place > head.place AND NOT later.is_held
           ), (SELECT time + interval '1 microsecond' FROM place)
    FROM head
)
SELECT head.reply_id, {UNCOUNTED_SQL} FROM head
"""  # noqa: S608  # only constants of other modules go into it

# The same behind the end of a reply, of which only the id is known.
START_BEHIND_SQL = START_SQL.replace("%(conversation_id)s", "(SELECT conversation_id FROM messages WHERE id = %(ended_id)s)")


def start_next(conversation_id: UUID) -> Statement:
    """Return the statement that starts the first message that waits in a conversation."""
    return START_SQL, {"conversation_id": conversation_id, **_values()}


def start_behind(ended_id: UUID) -> Statement:
    """Return the statement that starts the first message that waits for the end of a reply."""
    return START_BEHIND_SQL, {"ended_id": ended_id, **_values()}


def note_started(rows: Rows) -> list[UUID]:
    """Return the ids of the replies that such a statement began. Turns that could not be counted are counted later."""
    for _, uncounted in rows:
        if uncounted:
            note_uncounted(uncounted)
    queue_alarm.set()
    return [reply_id for reply_id, _ in rows]


def _values() -> Mapping[str, Any]:
    return {
        "most_of_user": settings.USER_MAX_GENERATIONS,
        "recent_s": longest_reply_s(),
        "temporary_lifetime": str(TEMPORARY_LIFETIME),
        "sent": 1,
        "worker": lease.worker_id,
    }
