"""The SQL statements of a send, written by hand: usually three, in two round trips.

Sends are the most frequent request, and Django spends half of a send's time on building SQL. Each statement here does the work
of several querysets of `conversations.querysets`. Tests compare what both find.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL

from chatapi.database.round_trips import Rows, Statement, run_together
from chatapi.incoming.arrival import seconds_since_arrival
from conversations.models import TEMPORARY_LIFETIME, Status
from conversations.placeholders import output_text
from conversations.querysets import IS_ABANDONED_SQL
from conversations.reply_duration import longest_reply_s
from conversations.services.replies.leases import lease
from conversations.services.replies.stop_marks import IS_MARKED_SQL
from conversations.services.sending.context import Budget
from conversations.services.sending.upstream_messages import HISTORY_SQL, HistoryRow, sends_reasoning, sends_tools
from conversations.services.usage.totals import COUNT_TURN_CTE, UNCOUNTED_SQL, note_uncounted
from inference_proxy.protocols.tool_calls import OutputForm, write_call_id

# The lock that every verb takes first. If a user's running replies are limited, this also makes the user's sends wait for each
# other: two at once would both see the last free place.
LOCK_SQL = """
SELECT c.title, c.title_source, c.model_tag, a.system_prompt, a.model_tag, a.temperature, a.max_tokens, a.top_k, own.text,
       CASE WHEN %(limited)s THEN pg_advisory_xact_lock(hashtextextended(%(lock_name)s, 0)) END
FROM conversations AS c LEFT JOIN assistants AS a ON a.id = c.assistant_id AND a.is_active
LEFT JOIN user_instructions AS own ON own.user_id = c.user_id AND own.is_active AND c.expires_at IS NULL
WHERE c.id = %(conversation_id)s AND c.user_id IS NOT DISTINCT FROM %(user_id)s
  AND (c.expires_at IS NULL OR c.expires_at > statement_timestamp())
FOR NO KEY UPDATE OF c
"""

# After the lock, so that it sees what the last holder of the lock has committed. Only a conversation with a recent turn can
# have a running reply. So PostgreSQL looks up each of those of the user, or each running reply of all users, whichever it
# expects to be fewer.
SURVEY_SQL = f"""
SELECT running.id, running.is_abandoned, earlier.id, earlier.request_fingerprint, earlier.is_active, theirs.count,
       theirs.has_queue, CASE WHEN newest.id IS NULL THEN timestamptz 'epoch'
            WHEN newest.created_at = history.created_at AND newest.created_at < timestamptz '9999-01-01+00'
            THEN newest.created_at + interval '1 microsecond' END AS next_time,
       history.id, history.role, history.is_refusal, history.length, history.beginning, history.reasoning, history.tool_calls
FROM (
    SELECT CASE WHEN %(limited)s THEN (
        SELECT count(*) FROM messages AS m JOIN conversations AS c ON c.id = m.conversation_id
        WHERE m.status = 'streaming' AND c.user_id = %(user_id)s::uuid
          AND c.updated_at > now() - make_interval(secs => %(recent_s)s)
    ) ELSE 0 END AS count,
    EXISTS (SELECT FROM queued_messages WHERE conversation_id = %(conversation_id)s AND NOT is_started) AS has_queue
) AS theirs
LEFT JOIN LATERAL (
    SELECT id, {IS_ABANDONED_SQL} AS is_abandoned
    FROM messages WHERE conversation_id = %(conversation_id)s AND status = 'streaming'
) AS running ON true
LEFT JOIN LATERAL (
    SELECT id, request_fingerprint, is_active FROM messages
    WHERE conversation_id = %(conversation_id)s AND idempotency_key = %(key)s
) AS earlier ON true
LEFT JOIN LATERAL (
    SELECT id, created_at FROM messages WHERE conversation_id = %(conversation_id)s ORDER BY created_at DESC LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL ({HISTORY_SQL}) AS history ON true
ORDER BY history.created_at DESC, history.id DESC
"""  # noqa: S608  # only constants of other modules go into it

# When the next message of a conversation is said: now, and after every other message of it, also if the clock stepped back. The
# conversation's lock makes it true. It leaves out times that only a broken clock can have written.
PLACE_SQL = """
greatest(now(), (
    SELECT created_at + interval '1 microsecond' FROM messages
    WHERE conversation_id = %(conversation_id)s AND created_at < timestamptz '9999-01-01+00'
    ORDER BY created_at DESC LIMIT 1
))
"""

ORM_PLACE_SQL = PLACE_SQL.replace("%(conversation_id)s", "%s")

# What each turn does to its conversation. Sending, regenerating and editing all use it.
TOUCH_SQL = """
UPDATE conversations SET updated_at = now(), title = coalesce(%(title)s, title),
    title_source = CASE WHEN %(title)s IS NULL THEN title_source ELSE 'auto' END,
    expires_at = CASE WHEN expires_at IS NOT NULL THEN now() + %(temporary_lifetime)s::interval END
WHERE id = %(conversation_id)s
"""

TOUCH_AND_COUNT_SQL = f"WITH touched AS ({TOUCH_SQL} RETURNING user_id), {COUNT_TURN_CTE} SELECT {UNCOUNTED_SQL}"

# The message that a new question follows, and the first question that follows it already: the new one is a version of that. It
# is newer than the message, and usually no message is.
LAST_SQL = """
SELECT id, created_at FROM messages WHERE conversation_id = %(conversation_id)s AND is_active
ORDER BY created_at DESC, id DESC LIMIT 1
"""
BESIDE_SQL = """
SELECT coalesce(other.parent_id, other.id) AS id FROM messages AS other, last
WHERE other.conversation_id = %(conversation_id)s AND other.created_at > last.created_at
  AND other.role = 'user' AND other.follows_id = last.id
LIMIT 1
"""


def _insert_sql(*, ctes: str, beside: str, has_versions: str, last: str, time: str, is_followed: str) -> str:
    return f"""
WITH touched AS ({TOUCH_SQL} RETURNING user_id, {IS_MARKED_SQL} AS is_marked), {COUNT_TURN_CTE}{ctes}
INSERT INTO messages (id, conversation_id, role, content, model_tag, status, parent_id, follows_id, has_versions, heartbeat_at,
                      worker, idempotency_key, request_fingerprint, context, request_options, tool_calls, created_at,
                      is_followed)
VALUES (%(message_id)s, %(conversation_id)s, 'user', %(content)s, NULL, 'complete', {beside}, {last}, {has_versions}, NULL,
        NULL, %(key)s, %(fingerprint)s, NULL, NULL, %(output_of)s::jsonb, {time}, {is_followed}),
       (%(reply_id)s, %(conversation_id)s, 'assistant', '', %(model_tag)s,
        CASE WHEN (SELECT is_marked FROM touched) THEN 'stopped' ELSE 'streaming' END, %(message_id)s, NULL, NULL, 'infinity',
        %(worker)s, NULL, NULL, %(context)s, %(options)s, NULL, {time} + interval '1 microsecond', NULL)
RETURNING status, {UNCOUNTED_SQL}
"""  # noqa: S608  # only constants of this module go into it


# Usually the question follows the newest message, which SURVEY_SQL has found under the same lock. Then nothing is beside it,
# and the triggers for the predecessor have nothing to do, which `is_followed` tells them.
APPEND_SQL = _insert_sql(
    ctes="",
    beside="NULL",
    has_versions="NULL",
    last="%(follows_id)s",
    time="greatest(now(), %(next_time)s)",
    is_followed="false",
)
INSERT_SQL = _insert_sql(
    ctes=f""",
place AS (SELECT {PLACE_SQL} AS time), last AS ({LAST_SQL}), beside AS ({BESIDE_SQL}), marked AS (
    UPDATE messages SET has_versions = true FROM beside WHERE messages.id = beside.id AND messages.has_versions IS NULL
)""",  # noqa: S608
    beside="(SELECT id FROM beside)",
    has_versions="(SELECT true FROM beside)",
    last="(SELECT id FROM last)",
    time="(SELECT time FROM place)",
    is_followed="NULL",
)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a conversation whose newest message is also the last active one: that message, and the time after it."""

    follows_id: UUID | None
    next_time: datetime


@dataclass(frozen=True, slots=True)
class Survey:
    """The state of a conversation at the time a send has locked it."""

    running_id: UUID | None
    is_abandoned: bool
    earlier_id: UUID | None
    earlier_fingerprint: str | None
    earlier_is_active: bool
    running_of_user: int
    # Whether messages wait for their turn.
    has_queue: bool
    # Where the next question belongs, unless INSERT_SQL must find out.
    end: "End | None"
    history: list[HistoryRow]


def lock_conversation(conversation_id: UUID, user_id: UUID | None, *, limited: bool) -> tuple[Any, ...] | None:
    """Lock a user's conversation and return the settings for its replies, or None if the user has no such conversation."""
    (rows,) = run_together(_lock(conversation_id, user_id, limited=limited))
    return rows[0] if rows else None


def survey_conversation(
    conversation_id: UUID, user_id: UUID | None, budget: Budget, *, idempotency_key: str, limited: bool
) -> Survey:
    """Read everything that a send depends on. One query."""
    (rows,) = run_together(_survey(conversation_id, user_id, budget, idempotency_key=idempotency_key, limited=limited))
    return _read_survey(rows)


def lock_and_survey(
    conversation_id: UUID, user_id: UUID | None, budget: Budget, *, idempotency_key: str, limited: bool
) -> tuple[tuple[Any, ...] | None, Survey]:
    """Do what `lock_conversation` and `survey_conversation` do, in one round trip."""
    locked, found = run_together(
        _lock(conversation_id, user_id, limited=limited),
        _survey(conversation_id, user_id, budget, idempotency_key=idempotency_key, limited=limited),
    )
    return locked[0] if locked else None, _read_survey(found)


def _lock(conversation_id: UUID, user_id: UUID | None, *, limited: bool) -> Statement:
    return LOCK_SQL, {
        "conversation_id": conversation_id,
        "user_id": user_id,
        "limited": limited,
        "lock_name": f"generations:{user_id}",
    }


def _survey(conversation_id: UUID, user_id: UUID | None, budget: Budget, *, idempotency_key: str, limited: bool) -> Statement:
    return SURVEY_SQL, {
        "conversation_id": conversation_id,
        "user_id": user_id,
        "limited": limited,
        "recent_s": longest_reply_s(),
        "key": idempotency_key or None,
        "abandoned_after_s": settings.ABANDONED_AFTER_SECONDS,
        "dead_workers": lease.dead_workers,
        "characters": budget.characters_to_read,
        "rows": budget.rows_to_read,
        "with_reasoning": sends_reasoning(),
        "with_tools": sends_tools(),
    }


def _read_survey(rows: Rows) -> Survey:
    running_id, is_abandoned, earlier_id, fingerprint, earlier_is_active, count, has_queue, next_time, last_id = rows[0][:9]
    return Survey(
        running_id=running_id,
        is_abandoned=bool(is_abandoned),
        earlier_id=earlier_id,
        earlier_fingerprint=fingerprint,
        earlier_is_active=bool(earlier_is_active),
        running_of_user=count,
        has_queue=has_queue,
        end=None if next_time is None else End(last_id, next_time),
        history=[row[9:] for row in rows if row[8] is not None],
    )


def next_place(conversation_id: UUID) -> RawSQL:
    """Return the expression of PLACE_SQL for an insert. The caller holds the conversation's lock."""
    return RawSQL(ORM_PLACE_SQL, [conversation_id], output_field=DateTimeField())  # noqa: S611  # a constant


def touch_conversation(conversation_id: UUID, title: str | None, *, sent: int) -> None:
    """Update a conversation for a new turn: its time, when it expires if it is temporary, and its title unless that is None.

    Also count one reply and `sent` messages for its user. Commit.
    """
    values = {"conversation_id": conversation_id, "title": title, "temporary_lifetime": str(TEMPORARY_LIFETIME), "sent": sent}
    [((uncounted,),)] = run_together((TOUCH_AND_COUNT_SQL, values), is_last=True)
    _count_after_commit(uncounted)


def note_activity(conversation_id: UUID) -> None:
    """Update a conversation whose last reply goes on: its time, and when it expires if it is temporary. Commit."""
    values = {"conversation_id": conversation_id, "title": None, "temporary_lifetime": str(TEMPORARY_LIFETIME)}
    run_together((TOUCH_SQL, values), is_last=True)


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
    context: dict[str, Any],
    options: dict[str, Any] | None,
    end: End | None,
    call_id: str = "",
    output_form: OutputForm = "text",
) -> bool:
    """Save both messages of a turn; update the conversation and count the turn as `touch_conversation` does. Commit.

    `end` is what the survey found, unless the conversation was changed since then. With a `call_id`, the content is the output
    of that call. Return whether the reply is to be generated. It is not if a stop came before.
    """
    values = {
        "conversation_id": conversation_id,
        "message_id": message_id,
        "reply_id": reply_id,
        "worker": lease.worker_id,
        "content": output_text(content) if call_id else content,
        "title": title,
        "model_tag": model_tag,
        "key": idempotency_key or None,
        "waited_s": seconds_since_arrival(),
        "fingerprint": fingerprint or None,
        "temporary_lifetime": str(TEMPORARY_LIFETIME),
        "sent": 1,
        "context": orjson.dumps(context).decode(),
        "output_of": orjson.dumps(write_call_id(call_id, output_form)).decode() if call_id else None,
        "options": None if options is None else orjson.dumps(options).decode(),
    }
    if end is None:
        statement = INSERT_SQL, values
    else:
        statement = APPEND_SQL, {**values, "follows_id": end.follows_id, "next_time": end.next_time}
    (saved,) = run_together(statement, is_last=True)
    _count_after_commit(saved[0][1])
    return all(status != Status.STOPPED for status, _ in saved)


def _count_after_commit(uncounted: list[str] | None) -> None:
    if uncounted:
        transaction.on_commit(lambda: note_uncounted(uncounted))
