"""How a reply ends. No other module gives a final status to a reply that exists; a test looks for it.

`end_reply` ends a reply whose result is known, because its generation is over or because it will never begin. One transaction
saves the result, counts it for the user, makes the answer active if it replaces another one (see `tree`) or gives back the
version that a refused edit replaced, and starts the message that waits for the end.

`interrupt_sql` marks replies that nothing makes any more: their worker is dead (see `leases`), has left, or does not know them.
That is a guess, so it changes nothing but the status. If the worker was only cut off, the result of its generation overwrites
the guess.

Rows that are inserted with a final status have no end: a reply that was stopped before it was saved (`services.sending`), and
one that comes from a file (`history.imports.insertion`). Nothing makes them or waits for them, and nothing of them is counted
here.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import UUID

import orjson
import psycopg
from django.conf import settings

from chatapi.database.connections import Runner
from chatapi.database.round_trips import Rows, run_together
from conversations.placeholders import WITHOUT_TEXT_SQL
from conversations.querysets import IS_ABANDONED_SQL, IS_BEGUN_SQL
from conversations.services.replies.leases import lease
from conversations.services.replies.next_in_queue import note_started, start_behind
from conversations.services.usage.totals import COUNT_RESULT_CTE, UNCOUNTED_SQL, note_uncounted
from inference_proxy.protocols.tool_calls import write_calls
from inference_proxy.replies.store import FinalStatus, FinishedReply

logger = logging.getLogger(__name__)

# Its generation is over, or it is a reply of the queue which this worker can't begin.
Reason = Literal["generated", "not begun"]

# The columns of a result that the statements below save. A stop that was stored before the end wins, whatever the end was. The
# text is what followers were shown until then.
_RESULT = """
content = %(text)s, reasoning = %(reasoning)s, reasoning_before_text = %(reasoning_before_text)s,
tool_calls = %(tool_calls)s::jsonb,
token_count = %(token_count)s, prompt_tokens = %(prompt_tokens)s, inference_time_ms = %(inference_time_ms)s,
first_token_ms = %(first_token_ms)s, finish_reason = %(finish_reason)s, heartbeat_at = NULL,
model_tag = coalesce(%(model_tag)s, reply.model_tag),
upstream_finish = %(upstream_finish)s, upstream_status = %(upstream_status)s, upstream_code = %(upstream_code)s,
status = CASE WHEN reply.stop_requested THEN 'stopped' ELSE %(status)s END,
error_code = CASE WHEN NOT reply.stop_requested THEN %(error_code)s END,
trace_id = CASE WHEN NOT reply.stop_requested THEN %(trace_id)s END,
idempotency_key = CASE WHEN reply.stop_requested OR NOT %(releases_key)s THEN reply.idempotency_key END
"""

# Almost every end: the first one of an active answer that no message waits for, and whose receipt says already what went
# upstream. It needs no lock beside that of the update.
END_SQL = f"""
WITH ended AS (
    UPDATE messages AS reply SET {_RESULT}
    WHERE id = %(id)s AND status = 'streaming' AND is_active AND continuations IS NULL AND is_awaited IS NOT TRUE
      AND (token_count, prompt_tokens, inference_time_ms) IS NULL
    RETURNING conversation_id, created_at, status, model_tag
), before AS (
    SELECT conversation_id, created_at, model_tag, NULL::int AS token_count, NULL::int AS prompt_tokens,
           NULL::int AS inference_time_ms, NULL::int AS continuations
    FROM ended
), {COUNT_RESULT_CTE}
SELECT false, status, {UNCOUNTED_SQL} FROM ended
"""  # noqa: S608  # only a constant of `usage` goes into it

# An end that changes what is active does so under the conversation's lock, like every other choice. This runs before the
# statements that choose, which need a snapshot of after the wait.
LOCK_FOR_CHOICE_SQL = """
SELECT id FROM conversations WHERE id = (
    SELECT conversation_id FROM messages WHERE id = %(id)s AND (NOT is_active OR status = 'interrupted')
)
FOR NO KEY UPDATE
"""

# Whether a late result that overwrites a guess may take the place of the active answer. In the meantime a person may have
# chosen another answer, or gone on behind it. So the last active message must be another answer to the same question that
# came to nothing, or broke off. A running one is a later attempt, which takes the place back if it comes to something; but to
# continue an answer is a choice. So is an older answer for which this one was left.
_MAY_STILL_COUNT = f"""
coalesce((
    SELECT last.id = reply.parent_id OR (
        last.parent_id = reply.parent_id AND last.role = 'assistant'
        AND (last.status NOT IN ('complete', 'stopped') OR last.{WITHOUT_TEXT_SQL} AND last.tool_calls IS NULL)
        AND (last.status <> 'streaming' OR last.continuations IS NULL)
        AND (reply.left_order IS NULL OR last.created_at > reply.created_at)
    )
    FROM messages AS last WHERE last.conversation_id = reply.conversation_id AND last.is_active
    ORDER BY last.created_at DESC, last.id DESC LIMIT 1
), false)
"""  # noqa: S608  # only a constant goes into it

# Every end. A second answer becomes active in the statement that ends it, if it is complete, or stopped with text. What
# followed the other answer is left with it (see `tree`).
#
# The receipt of what went upstream changes once, where the model took less than was chosen: the statement may be repeated.
#
# `before` has its rows only after `replaced` has changed the others. So this counts when it holds all of its messages, as
# END_SQL does: two ends could otherwise wait for each other, one for a message and one for the user's totals.
FINISH_SQL = f"""
WITH known AS (
    SELECT id, conversation_id, parent_id,
           NOT is_active AND (status = 'streaming' OR {_MAY_STILL_COUNT})
           AND %(has_text)s AND (%(counts)s OR stop_requested) AS takes_over,
           status = 'interrupted' AS was_guessed,
           created_at, model_tag, token_count, prompt_tokens, inference_time_ms, continuations
    FROM messages AS reply
    WHERE id = %(id)s AND status IN ('streaming', 'interrupted') AND coalesce(continuations, 0) = %(continuation)s
      AND (%(only_of_worker)s::uuid IS NULL OR worker = %(only_of_worker)s::uuid)
    FOR UPDATE
), replaced AS (
    UPDATE messages AS other SET is_active = false, was_active = true, left_order = (
        SELECT coalesce(max(left_order), 0) + 1 FROM messages WHERE conversation_id = known.conversation_id
    )
    FROM known LEFT JOIN messages AS asked ON asked.id = known.parent_id
    WHERE known.takes_over AND other.conversation_id = known.conversation_id AND other.is_active AND other.id <> known.id
      AND (other.parent_id = known.parent_id AND other.role = 'assistant' OR other.created_at > asked.created_at)
    RETURNING other.id
), before AS (
    SELECT known.* FROM known, (SELECT count(*) FROM replaced) AS first
), {COUNT_RESULT_CTE}
UPDATE messages AS reply
SET {_RESULT},
    is_active = reply.is_active OR before.takes_over,
    context = CASE WHEN %(left_out)s::int = 0 OR reply.context ->> 'reason' = 'model_limit' THEN reply.context
        ELSE coalesce(reply.context, '{{}}') || jsonb_build_object(
            'messages', %(sent_messages)s::int, 'characters', %(sent_characters)s::int, 'reason', 'model_limit',
            'left_out', coalesce((reply.context ->> 'left_out')::int, 0) + %(left_out)s::int
        ) END
FROM before WHERE reply.id = before.id
RETURNING before.was_guessed, reply.status, {UNCOUNTED_SQL}
"""  # noqa: S608  # only a constant of `usage` goes into it

# If the inference service refuses an edit, the version that it left becomes active again, with all that was left in the same
# choice. This runs before FINISH_SQL, because it requires that the reply is still running, or was taken for dead: later the
# user may have chosen another version. If it was taken for dead, two more things must hold: no message was sent after it, and
# nobody has left the new version and returned to it. If the new version also has an answer that succeeded or has text, this
# changes nothing. Safe to repeat.
GIVE_BACK_SQL = f"""
WITH refused AS (
    SELECT reply.id, reply.conversation_id, asked.id AS asked_id, replaced.left_order
    FROM messages AS reply
    JOIN messages AS asked ON asked.id = reply.parent_id AND asked.is_active
    CROSS JOIN LATERAL (
        SELECT version.left_order FROM messages AS version
        WHERE version.conversation_id = reply.conversation_id AND version.role = 'user' AND version.left_order IS NOT NULL
          AND coalesce(version.parent_id, version.id) = coalesce(asked.parent_id, asked.id) AND version.id <> asked.id
        ORDER BY version.left_order DESC LIMIT 1
    ) AS replaced
    WHERE reply.id = %(id)s AND reply.is_active AND NOT reply.stop_requested AND (
        reply.status = 'streaming' OR (
            reply.status = 'interrupted' AND asked.left_order IS NULL AND NOT EXISTS (
                SELECT FROM messages AS later
                WHERE later.conversation_id = reply.conversation_id AND later.is_active AND later.created_at > reply.created_at
            )
        )
    ) AND NOT EXISTS (
        SELECT FROM messages AS other
        WHERE other.parent_id = asked.id AND other.role = 'assistant' AND other.id <> reply.id
          AND NOT (other.status IN ('failed', 'interrupted') AND other.{WITHOUT_TEXT_SQL})
    )
    FOR UPDATE OF reply
)
UPDATE messages AS turn SET is_active = NOT turn.is_active
FROM refused
WHERE turn.conversation_id = refused.conversation_id
  AND (turn.id IN (refused.id, refused.asked_id) OR (turn.left_order = refused.left_order AND NOT turn.is_active))
"""  # noqa: S608  # only a constant goes into it


def interrupt_sql(which: str, *, waits: bool = False) -> str:
    """Return the statement that marks running replies `interrupted` which nothing makes any more.

    Without `waits`, locked rows are skipped and marked the next time.
    """
    return f"""
WITH lost AS (
    SELECT id FROM messages WHERE status = 'streaming' AND {which} AND {IS_BEGUN_SQL}
    FOR NO KEY UPDATE{"" if waits else " SKIP LOCKED"}
)
UPDATE messages SET status = 'interrupted' FROM lost WHERE messages.id = lost.id RETURNING messages.id
"""  # noqa: S608


ABANDONED_SQL = interrupt_sql(IS_ABANDONED_SQL)
LEFT_BY_WORKER_SQL = interrupt_sql("worker = %(id)s::uuid")
UNKNOWN_HERE_SQL = interrupt_sql("id = ANY(%s::uuid[])")
ABANDONED_IN_CONVERSATION_SQL = interrupt_sql(f"conversation_id = %(conversation_id)s::uuid AND {IS_ABANDONED_SQL}", waits=True)
ABANDONED_REPLY_SQL = interrupt_sql(f"id = %(reply_id)s::uuid AND {IS_ABANDONED_SQL}", waits=True)


def interrupt_abandoned_in(conversation_id: UUID) -> None:
    """Mark a conversation's reply if its worker is dead. Otherwise it would block the conversation until a keeper marks it."""
    run_together((ABANDONED_IN_CONVERSATION_SQL, {"conversation_id": conversation_id, **_values_of_abandoned()}))


def interrupt_if_abandoned(reply_id: UUID) -> bool:
    """Mark a reply if its worker is dead. Return whether it was marked."""
    [marked] = run_together((ABANDONED_REPLY_SQL, {"reply_id": reply_id, **_values_of_abandoned()}))
    return bool(marked)


def _values_of_abandoned() -> Mapping[str, Any]:
    return {"abandoned_after_s": settings.ABANDONED_AFTER_SECONDS, "dead_workers": lease.dead_workers}


@dataclass(frozen=True, slots=True)
class Ended:
    """A reply's end as it was saved."""

    status: FinalStatus
    # Whether it was marked `interrupted` before.
    was_guessed: bool
    _uncounted: list[str] | None
    # What `start_behind` returned, or None if it did not run.
    _started: Rows | None

    def note(self) -> None:
        """Have this process count what is left to count, and begin the reply that was started. Call it after the commit."""
        if self._uncounted:
            note_uncounted(self._uncounted)
        if self._started is not None:
            note_started(self._started)


def end_reply(reply: FinishedReply, run: Runner, *, reason: Reason = "generated", starts_next: bool = True) -> Ended | None:
    """Save a reply's end, and start the first message that waits for it. `run` runs the statements in one transaction.

    Return None if there is nothing to end: the reply was deleted, has ended, or goes on as a later continuation. A reply that
    was not begun is ended only if it is this worker's. Safe to repeat.
    """
    values = _values_of(reply, reason)
    gives_back = reason == "generated" and reply.status == "failed" and not reply.text
    if reason == "generated" and not (gives_back or reply.continuation or values["left_out"]):
        [ended] = run((END_SQL, values))
        if ended:
            return _ended(ended, None)
    statements = [(LOCK_FOR_CHOICE_SQL, values), (FINISH_SQL, values)]
    if gives_back:
        statements.insert(1, (GIVE_BACK_SQL, values))
    if not starts_next:
        return _ended(run(*statements)[-1], None)
    try:
        *_, ended, started = run(*statements, start_behind(reply.reply_id))
    except psycopg.IntegrityError:
        # Whatever is wrong with a message that waits must not keep this end from being saved.
        logger.exception("a queued message can't be started")
        return _ended(run(*statements)[-1], None)
    return _ended(ended, started)


def _ended(rows: Rows, started: Rows | None) -> Ended | None:
    if not rows:
        return None
    was_guessed, status, uncounted = rows[0]
    return Ended(cast(FinalStatus, status), was_guessed, uncounted, started)


def _values_of(reply: FinishedReply, reason: Reason) -> dict[str, Any]:
    was_begun = reason == "generated"
    return {
        "id": reply.reply_id,
        "only_of_worker": None if was_begun else lease.worker_id,
        "status": reply.status,
        "text": reply.text,
        "reasoning": reply.reasoning,
        "reasoning_before_text": reply.reasoning_before_text,
        "tool_calls": orjson.dumps(write_calls(reply.tool_calls)).decode() if reply.tool_calls else None,
        "error_code": reply.error_code or None,
        "token_count": reply.token_count if was_begun else None,
        "prompt_tokens": reply.prompt_tokens,
        "inference_time_ms": reply.inference_time_ms if was_begun else None,
        "first_token_ms": reply.first_token_ms,
        "finish_reason": reply.finish_reason or None,
        "model_tag": reply.model_tag or None,
        "upstream_finish": reply.upstream_finish or None,
        "upstream_status": reply.upstream_status,
        "upstream_code": reply.upstream_code or None,
        "trace_id": reply.trace_id or None,
        "continuation": reply.continuation,
        "releases_key": reply.releases_key,
        "counts": reply.status in ("complete", "stopped"),
        "has_text": bool(reply.text or reply.tool_calls),
        "sent_messages": reply.sent.messages if reply.sent else 0,
        "sent_characters": reply.sent.characters if reply.sent else 0,
        "left_out": reply.sent.left_out if reply.sent else 0,
    }
