"""Save replies while they run and when they end.

Only a reply's own generation gives it a final status, with one exception: a reply whose worker is dead (see `leases`) is marked
`interrupted`. That may be a guess. If the worker was only cut off, the result of its generation overwrites the guess.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import orjson
import psycopg
from django.conf import settings

from chatapi.database.connections import Cursors, Runner, own_cursor, run_on_own_connection
from chatapi.database.failures import is_database_away, is_lock_timeout
from chatapi.database.pools import SeparatePool
from chatapi.database.recent_writes import pause_replica_reads
from chatapi.database.round_trips import Rows
from conversations.placeholders import WITHOUT_TEXT_SQL
from conversations.querysets import IS_ABANDONED_SQL, IS_BEGUN_SQL
from conversations.services.replies.leases import FORGET_OWN_SQL, FORGET_SQL, Lease, lease
from conversations.services.replies.next_in_queue import note_started, queue_alarm, start_behind
from conversations.services.usage.totals import COUNT_RESULT_CTES, UNCOUNTED_SQL, count_uncounted, note_uncounted
from inference_proxy.exceptions import StoreUnavailable
from inference_proxy.protocols.tool_calls import write_calls
from inference_proxy.replies.live import LiveReplies
from inference_proxy.replies.store import Directives, Draft, FinalStatus, FinishedReply

logger = logging.getLogger(__name__)

# A reply may be marked `interrupted` while its generation continues (see above). But a reply with an inference time was ended
# by its generation; a late checkpoint must not overwrite its text with an older one. A continued reply has that time, and
# a heartbeat until the continuation ends. An earlier generation of it has nothing more to say.
_STILL_RUNS = """
((messages.status = 'streaming' OR (messages.status = 'interrupted'
    AND (messages.inference_time_ms IS NULL OR messages.heartbeat_at IS NOT NULL)))
 AND coalesce(messages.continuations, 0) = draft.continuation)
"""
_IS_NEW = (
    "(draft.content IS NOT NULL OR draft.reasoning IS NOT NULL OR messages.is_followed IS DISTINCT FROM draft.is_followed)"
)
_DRAFT_CTE = """
draft AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(texts)s::text[], %(thoughts)s::text[], %(are_followed)s::boolean[],
                         %(continuations)s::int[], %(thoughts_before)s::int[])
        AS draft (id, content, reasoning, is_followed, continuation, reasoning_before_text)
)
"""
_SET_DRAFT = """
UPDATE messages
SET content = coalesce(draft.content, messages.content),
    reasoning = coalesce(draft.reasoning, messages.reasoning), is_followed = draft.is_followed,
    reasoning_before_text = draft.reasoning_before_text
"""

_NO_WAIT = "set_config('synchronous_commit', 'off', true)"

# Both return every reply that runs, whether it is to be stopped, and whether its draft waits.
#
# A reply that says nothing new is only read. The statement waits a moment for locked rows, and then fails as a whole.
# Neither waits until its commit is on the disk or a standby: a draft that is lost comes again, with the end at the latest.
CHECKPOINT_SQL = f"""
WITH {_DRAFT_CTE}, patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', '250ms', true) AS lock_timeout, {_NO_WAIT} AS no_wait
), saved AS (
    {_SET_DRAFT}
    FROM draft CROSS JOIN patience
    WHERE messages.id = draft.id AND {_STILL_RUNS} AND {_IS_NEW} AND (patience.lock_timeout, patience.no_wait) IS NOT NULL
    RETURNING messages.id, messages.stop_requested AS stop_requested
), rest AS MATERIALIZED (
    SELECT draft.* FROM draft WHERE NOT EXISTS (SELECT FROM saved WHERE saved.id = draft.id)
)
SELECT saved.id, saved.stop_requested, false FROM saved
UNION ALL
SELECT messages.id, messages.stop_requested AS stop_requested, draft.content IS NOT NULL OR draft.reasoning IS NOT NULL
FROM rest AS draft JOIN messages ON messages.id = draft.id WHERE {_STILL_RUNS}
"""  # noqa: S608

# The same after that failure: a row that somebody has locked is skipped and comes with the next checkpoint, because one locked
# row must not stop the others. Locking the rows first makes it a fifth slower.
CHECKPOINT_FREE_SQL = f"""
WITH {_DRAFT_CTE}, running AS (
    SELECT messages.id, messages.stop_requested, {_IS_NEW} AS is_new
    FROM messages JOIN draft ON draft.id = messages.id WHERE {_STILL_RUNS}
), haste AS MATERIALIZED (SELECT {_NO_WAIT} AS no_wait), free AS (
    SELECT messages.id FROM messages JOIN running ON running.id = messages.id AND running.is_new
    JOIN draft ON draft.id = messages.id
    WHERE {_STILL_RUNS}
    FOR NO KEY UPDATE OF messages SKIP LOCKED
), saved AS (
    {_SET_DRAFT}
    FROM free JOIN draft ON draft.id = free.id CROSS JOIN haste
    WHERE messages.id = free.id AND haste.no_wait IS NOT NULL
    RETURNING messages.id
)
SELECT running.id, running.stop_requested, running.is_new AND saved.id IS NULL
FROM running LEFT JOIN saved ON saved.id = running.id
"""  # noqa: S608

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
    RETURNING conversation_id, created_at, status
), before AS (
    SELECT conversation_id, created_at, NULL::int AS token_count, NULL::int AS prompt_tokens, NULL::int AS inference_time_ms,
           NULL::int AS continuations
    FROM ended
), {COUNT_RESULT_CTES}
SELECT false, status, {UNCOUNTED_SQL} FROM ended
"""  # noqa: S608  # only a constant of `usage` goes into it

# Every end. A second answer becomes active in the statement that ends it, if it is complete, or stopped with text. What
# followed the other answer is left with it (see `tree`). A late result that overwrites a guess does not become active, because
# the user may have chosen another answer in the meantime.
#
# The receipt of what went upstream changes once, where the model took less than was chosen: the statement may be repeated.
FINISH_SQL = f"""
WITH before AS (
    SELECT id, conversation_id, parent_id,
           NOT is_active AND status = 'streaming' AND %(has_text)s AND (%(counts)s OR stop_requested) AS takes_over,
           status = 'interrupted' AS was_guessed,
           created_at, token_count, prompt_tokens, inference_time_ms, continuations
    FROM messages
    WHERE id = %(id)s AND status IN ('streaming', 'interrupted') AND coalesce(continuations, 0) = %(continuation)s
    FOR UPDATE
), replaced AS (
    UPDATE messages AS other SET is_active = false, was_active = true, left_order = (
        SELECT coalesce(max(left_order), 0) + 1 FROM messages WHERE conversation_id = before.conversation_id
    )
    FROM before LEFT JOIN messages AS asked ON asked.id = before.parent_id
    WHERE before.takes_over AND other.conversation_id = before.conversation_id AND other.is_active AND other.id <> before.id
      AND (other.parent_id = before.parent_id AND other.role = 'assistant' OR other.created_at > asked.created_at)
), {COUNT_RESULT_CTES}
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
# choice. This runs before FINISH_SQL, because it requires that the reply is still running: later the user may have chosen
# another version. It changes nothing if the new version has another answer that is not void. Safe to repeat.
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
    WHERE reply.id = %(id)s AND reply.status = 'streaming' AND reply.is_active AND NOT reply.stop_requested AND NOT EXISTS (
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


def _interrupt_sql(which: str) -> str:
    """Return the statement that marks replies which nothing makes any more. Locked rows are skipped and marked the next time.

    Every mark is a guess, which FINISH_SQL may overwrite.
    """
    return f"""
WITH lost AS (
    SELECT id FROM messages WHERE status = 'streaming' AND {which} AND {IS_BEGUN_SQL} FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE messages SET status = 'interrupted' FROM lost WHERE messages.id = lost.id RETURNING messages.id
"""  # noqa: S608


INTERRUPT_SQL = _interrupt_sql(IS_ABANDONED_SQL)
LEAVE_SQL = _interrupt_sql("worker = %(id)s::uuid")
INTERRUPT_THESE_SQL = _interrupt_sql("id = ANY(%s::uuid[])")

NAMED_SQL = f"SELECT id, worker, {IS_BEGUN_SQL} FROM messages WHERE status = 'streaming' AND worker IS NOT NULL"  # noqa: S608
STATUS_SQL = "SELECT status FROM messages WHERE id = %(id)s"

# The keeper and the poller each run one statement at a time. Ends of replies are short and come in bursts; they share these.
KEEPER_CONNECTIONS = 2
ENDING_CONNECTIONS = 4
KEEPER_WAIT_S = 5.0
ENDING_WAIT_S = 20.0

# An interval that PostgreSQL can subtract, longer than any reply runs.
LONG_S = 10 * 365 * 24 * 3600


class DatabaseReplyStore:
    """Replies in PostgreSQL; see `inference_proxy.replies.store.ReplyStore`.

    `saving` runs checkpoints, `ending` the statements for the ends of replies; `keeping` gives cursors for abandoned replies.
    """

    def __init__(
        self,
        *,
        keeping: Cursors = own_cursor,
        saving: Runner = run_on_own_connection,
        ending: Runner = run_on_own_connection,
        lease: Lease = lease,
    ) -> None:
        self._keeping = keeping
        self._saving = saving
        self._ending = ending
        self._lease = lease
        # Called with each reply that is complete. It must not wait.
        self.when_complete: Callable[[UUID], None] = lambda _: None
        self._away_at = -math.inf
        # As of the last checkpoint.
        self._are_rows_locked = False

    def checkpoint(self, drafts: Sequence[Draft]) -> Directives:
        ids = [draft.reply_id for draft in drafts]
        values = {
            "ids": ids,
            "texts": [draft.text for draft in drafts],
            "thoughts": [draft.reasoning for draft in drafts],
            "are_followed": [draft.is_followed for draft in drafts],
            "continuations": [draft.continuation for draft in drafts],
            "thoughts_before": [draft.reasoning_before_text for draft in drafts],
        }
        with self._translated_errors():
            found = self._save_drafts(values)
        known = {reply_id for reply_id, _, _ in found}
        return Directives(
            to_stop=frozenset(reply_id for reply_id, stop_requested, _ in found if stop_requested),
            deleted=frozenset(ids) - known,
            skipped=frozenset(reply_id for reply_id, _, is_skipped in found if is_skipped),
        )

    def _save_drafts(self, values: Mapping[str, Any]) -> Rows:
        if not self._are_rows_locked:
            try:
                return self._saving((CHECKPOINT_SQL, values))[0]
            except Exception as failure:
                if not is_lock_timeout(failure):
                    raise
        found = self._saving((CHECKPOINT_FREE_SQL, values))[0]
        # As long as there are some, waiting for them each time would only delay the others.
        self._are_rows_locked = any(is_skipped for _, _, is_skipped in found)
        return found

    def finish(self, reply: FinishedReply) -> FinalStatus:
        values = {
            "id": reply.reply_id,
            "status": reply.status,
            "text": reply.text,
            "reasoning": reply.reasoning,
            "reasoning_before_text": reply.reasoning_before_text,
            "tool_calls": orjson.dumps(write_calls(reply.tool_calls)).decode() if reply.tool_calls else None,
            "error_code": reply.error_code or None,
            "token_count": reply.token_count,
            "prompt_tokens": reply.prompt_tokens,
            "inference_time_ms": reply.inference_time_ms,
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
        with self._translated_errors():
            ended = self._end(reply, values)
            if not ended:
                # The conversation was deleted, or an earlier attempt succeeded although its answer was lost.
                found = self._ending((STATUS_SQL, values))[0]
                status = found[0][0] if found else reply.status
                # After a guess, another generation may have gone on with the reply.
                return "interrupted" if status == "streaming" else cast(FinalStatus, status)
        was_guessed, status, uncounted = ended[0]
        if uncounted:
            note_uncounted(uncounted)
        if status == "complete":
            self.when_complete(reply.reply_id)
        if was_guessed:
            # The replica may still have the guess, which it does not count as running.
            pause_replica_reads()
        return cast(FinalStatus, status)

    def _end(self, reply: FinishedReply, values: Mapping[str, Any]) -> Rows:
        """Save an end. If messages wait for it, start the first of them in the same transaction."""
        gives_back = reply.status == "failed" and not reply.text
        if not (gives_back or reply.continuation or values["left_out"]) and (ended := self._ending((END_SQL, values))[0]):
            return ended
        statements = [(FINISH_SQL, values)]
        if gives_back:
            statements.insert(0, (GIVE_BACK_SQL, values))
        if live_replies.is_shutting_down:
            # Another worker starts what waits.
            return self._ending(*statements)[-1]
        try:
            *_, ended, started = self._ending(*statements, start_behind(reply.reply_id))
        except psycopg.IntegrityError:
            # Whatever is wrong with a message that waits must not keep this end from being saved.
            logger.exception("a queued message can't be started")
            return self._ending(*statements)[-1]
        note_started(started)
        return ended

    def interrupt(self, reply_ids: Sequence[UUID]) -> frozenset[UUID]:
        with self._translated_errors(), self._keeping() as cursor:
            cursor.execute(INTERRUPT_THESE_SQL, [list(reply_ids)])
            return frozenset(reply_id for (reply_id,) in cursor.fetchall())

    def interrupt_abandoned(self) -> int:
        with self._translated_errors(), self._keeping() as cursor:
            dead = self._lease.dead_workers
            age_s: float = settings.ABANDONED_AFTER_SECONDS
            if time.monotonic() - self._away_at < age_s:
                # Workers of the version before could not renew their heartbeats either. They do so now.
                age_s = math.inf
            cursor.execute(INTERRUPT_SQL, {"abandoned_after_s": min(age_s, LONG_S), "dead_workers": dead})
            count = int(cursor.rowcount)
            if dead:
                cursor.execute(FORGET_SQL, [dead])
        self._lease.note_marked(dead)
        if dead:
            # What waited behind their replies.
            queue_alarm.set()
        if count:
            # They may have begun before the time that `replica_reads` looks back to.
            pause_replica_reads()
        return count

    def count_uncounted(self) -> None:
        """Add what could not be counted with its turn or its reply because the user's totals were locked."""
        with self._translated_errors():
            count_uncounted(self._ending)

    def has_abandoned(self) -> bool:
        return self._lease.has_news

    def running_here(self) -> frozenset[UUID]:
        with self._translated_errors(), self._keeping() as cursor:
            cursor.execute(NAMED_SQL)
            found = cursor.fetchall()
        self._lease.note_named({worker_id for _, worker_id, _ in found})
        here = self._lease.worker_id
        return frozenset(reply_id for reply_id, worker_id, is_begun in found if is_begun and worker_id == here)

    def give_up_lease(self) -> None:
        """Mark what this worker leaves `interrupted`, and remove its lease. For its end; skipped while the database is away."""
        if not self._lease.end():
            return
        try:
            self._ending((LEAVE_SQL, {"id": self._lease.worker_id}), (FORGET_OWN_SQL, {"id": self._lease.worker_id}))
        except Exception:  # noqa: BLE001  # whatever keeps it from that, the worker ends
            # Others find this process gone.
            logger.warning("lease not given up")

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise `StoreUnavailable` if the database is away. Other errors pass unchanged."""
        try:
            yield
        except Exception as failure:
            if is_database_away(failure):
                self._away_at = time.monotonic()
                raise StoreUnavailable from failure
            raise


# Separate from the connections of requests. If requests exhaust theirs, checkpoints and heartbeats must continue; otherwise
# other workers would mark running replies as interrupted.
keeper_connections = SeparatePool("reply-keeper", size=KEEPER_CONNECTIONS, timeout_s=KEEPER_WAIT_S)
ending_connections = SeparatePool("reply-ends", size=ENDING_CONNECTIONS, timeout_s=ENDING_WAIT_S)

reply_store = DatabaseReplyStore(
    keeping=keeper_connections.cursor, saving=keeper_connections.run, ending=ending_connections.run
)
live_replies = LiveReplies(reply_store)
