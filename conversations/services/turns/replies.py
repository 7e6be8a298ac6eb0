"""Save replies while they run and when they end.

Only a reply's own generation gives it a final status, with one exception: a reply whose heartbeat is too old is marked
`interrupted`. That is a guess. If the worker was only cut off, the result of its generation overwrites the guess.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings

from chatapi.database import Cursors, Runner, SeparatePool, is_database_away, own_cursor, run_on_own_connection
from chatapi.recent_writes import pause_replica_reads
from conversations.exceptions import ShuttingDown, TooManyReplies
from conversations.querysets import IS_ABANDONED_SQL
from conversations.services.usage import COUNT_RESULT_SQL
from inference_proxy.exceptions import StoreUnavailable
from inference_proxy.live import LiveReplies
from inference_proxy.store import Directives, Draft, FinishedReply

# A reply may be marked `interrupted` while its generation continues (see above). But a reply with an inference time was ended
# by its generation; a late checkpoint must not overwrite its text with an older one.
CHECKPOINT_SQL = """
UPDATE messages
SET content = coalesce(draft.content, messages.content), heartbeat_at = now(),
    reasoning = coalesce(draft.reasoning, messages.reasoning), is_followed = draft.is_followed
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::boolean[]) AS draft (id, content, reasoning, is_followed)
WHERE messages.id = draft.id
  AND (messages.status = 'streaming' OR (messages.status = 'interrupted' AND messages.inference_time_ms IS NULL))
RETURNING messages.id, messages.stop_requested
"""

# A second answer becomes active in the statement that ends it, if it is complete, or stopped with text. A late result that
# overwrites a guess does not become active, because the user may have chosen another answer in the meantime.
FINISH_SQL = f"""
WITH before AS (
    SELECT id, conversation_id, parent_id, NOT is_active AND status = 'streaming' AND %(counts)s AS takes_over,
           status = 'interrupted' AS was_guessed,
           created_at, token_count, prompt_tokens, inference_time_ms
    FROM messages WHERE id = %(id)s AND status IN ('streaming', 'interrupted') FOR UPDATE
), replaced AS (
    UPDATE messages AS other SET is_active = false FROM before
    WHERE before.takes_over AND other.conversation_id = before.conversation_id AND other.parent_id = before.parent_id
      AND other.role = 'assistant' AND other.is_active AND other.id <> before.id
), counted AS ({COUNT_RESULT_SQL})
UPDATE messages AS reply
SET status = %(status)s, content = %(text)s, reasoning = %(reasoning)s, error_code = %(error_code)s,
    token_count = %(token_count)s, prompt_tokens = %(prompt_tokens)s, inference_time_ms = %(inference_time_ms)s,
    first_token_ms = %(first_token_ms)s, finish_reason = %(finish_reason)s, heartbeat_at = now(),
    is_active = reply.is_active OR before.takes_over
FROM before WHERE reply.id = before.id
RETURNING before.was_guessed
"""  # noqa: S608  # only a constant of `usage` goes into it

# If the inference service refuses an edit, the old version and its answer become active again (`was_active` marks them). This
# runs before FINISH_SQL, because it requires that the reply is still running: later the user may have chosen another version.
# It changes nothing if the new version has another answer that is not void. Safe to repeat.
GIVE_BACK_SQL = """
WITH refused AS (
    SELECT reply.id, reply.conversation_id, asked.id AS asked_id, replaced.id AS replaced_id
    FROM messages AS reply
    JOIN messages AS asked ON asked.id = reply.parent_id AND asked.is_active
    JOIN messages AS replaced ON replaced.conversation_id = reply.conversation_id AND replaced.role = 'user'
        AND replaced.was_active AND (replaced.id = asked.parent_id OR replaced.parent_id = asked.parent_id)
    WHERE reply.id = %(id)s AND reply.status = 'streaming' AND reply.is_active AND NOT EXISTS (
        SELECT FROM messages AS other
        WHERE other.parent_id = asked.id AND other.role = 'assistant' AND other.id <> reply.id
          AND NOT (other.status IN ('failed', 'interrupted') AND other.content = '')
    )
    FOR UPDATE OF reply
)
UPDATE messages AS turn SET is_active = NOT turn.is_active, was_active = turn.is_active
FROM refused
WHERE turn.conversation_id = refused.conversation_id
  AND (turn.id IN (refused.id, refused.asked_id, refused.replaced_id)
       OR (turn.parent_id = refused.replaced_id AND turn.role = 'assistant' AND turn.was_active))
"""

INTERRUPT_SQL = f"UPDATE messages SET status = 'interrupted' WHERE status = 'streaming' AND {IS_ABANDONED_SQL}"  # noqa: S608

INTERRUPT_THESE_SQL = (
    "UPDATE messages SET status = 'interrupted' WHERE id = ANY(%s::uuid[]) AND status = 'streaming' RETURNING id"
)

# The keeper and the poller each run one statement at a time. Ends of replies are short and come in bursts; they share these.
KEEPER_CONNECTIONS = 2
ENDING_CONNECTIONS = 4
KEEPER_WAIT_S = 5.0
ENDING_WAIT_S = 20.0

# When a client may ask again for a reply that there was no room for.
RETRY_AFTER_S = 5


class DatabaseReplyStore:
    """Replies in PostgreSQL; see `inference_proxy.store.ReplyStore`.

    `keeping` gives cursors for checkpoints and abandoned replies, `ending` runs the statements for the ends of replies.
    """

    def __init__(self, *, keeping: Cursors = own_cursor, ending: Runner = run_on_own_connection) -> None:
        self._keeping = keeping
        self._ending = ending

    def checkpoint(self, drafts: Sequence[Draft]) -> Directives:
        ids = [draft.reply_id for draft in drafts]
        with _translated_errors(), self._keeping() as cursor:
            columns = zip(*[(draft.reply_id, draft.text, draft.reasoning, draft.is_followed) for draft in drafts], strict=True)
            cursor.execute(CHECKPOINT_SQL, [list(column) for column in columns])
            found = cursor.fetchall()
        known = {reply_id for reply_id, _ in found}
        return Directives(
            to_stop=frozenset(reply_id for reply_id, stop_requested in found if stop_requested),
            deleted=frozenset(ids) - known,
        )

    def finish(self, reply: FinishedReply) -> None:
        values = {
            "id": reply.reply_id,
            "status": reply.status,
            "text": reply.text,
            "reasoning": reply.reasoning,
            "error_code": reply.error_code or None,
            "token_count": reply.token_count,
            "prompt_tokens": reply.prompt_tokens,
            "inference_time_ms": reply.inference_time_ms,
            "first_token_ms": reply.first_token_ms,
            "finish_reason": reply.finish_reason or None,
            "counts": reply.status in ("complete", "stopped") and bool(reply.text),
        }
        # It may find no row: the conversation was deleted, or an earlier attempt succeeded although its answer was lost.
        statements = [(FINISH_SQL, values)]
        if reply.status == "failed" and not reply.text:
            statements.insert(0, (GIVE_BACK_SQL, values))
        with _translated_errors():
            ended = self._ending(*statements)[-1]
        if ended and ended[0][0]:
            # The replica may still have the guess, which it does not count as running.
            pause_replica_reads()

    def interrupt(self, reply_ids: Sequence[UUID]) -> frozenset[UUID]:
        with _translated_errors(), self._keeping() as cursor:
            cursor.execute(INTERRUPT_THESE_SQL, [list(reply_ids)])
            return frozenset(reply_id for (reply_id,) in cursor.fetchall())

    def interrupt_abandoned(self) -> int:
        with _translated_errors(), self._keeping() as cursor:
            cursor.execute(INTERRUPT_SQL, {"abandoned_after_s": settings.ABANDONED_AFTER_SECONDS})
            count = int(cursor.rowcount)
        if count:
            # They may have begun before the time that `replica_reads` looks back to.
            pause_replica_reads()
        return count


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise `StoreUnavailable` if the database is away. Other errors pass unchanged."""
    try:
        yield
    except Exception as failure:
        if is_database_away(failure):
            raise StoreUnavailable from failure
        raise


# Separate from the connections of requests. If requests exhaust theirs, checkpoints and heartbeats must continue; otherwise
# other workers would mark running replies as interrupted.
keeper_connections = SeparatePool("reply-keeper", size=KEEPER_CONNECTIONS, timeout_s=KEEPER_WAIT_S)
ending_connections = SeparatePool("reply-ends", size=ENDING_CONNECTIONS, timeout_s=ENDING_WAIT_S)

live_replies = LiveReplies(DatabaseReplyStore(keeping=keeper_connections.cursor, ending=ending_connections.run))


class _Beginning:
    """How many turns this worker is saving, whose replies do not run yet."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()


_beginning = _Beginning()


def refuse_new_replies() -> None:
    """Refuse to begin a reply that this worker has no room for or could not finish. Raises `ShuttingDown`, `TooManyReplies`."""
    if live_replies.is_shutting_down:
        raise ShuttingDown(retry_after_s=1)
    if not live_replies.has_room(_beginning.count):
        raise TooManyReplies(retry_after_s=RETRY_AFTER_S)


@contextmanager
def room_for_reply() -> Iterator[None]:
    """Count a reply that begins in this block, so that a burst of requests can't exceed the limit. Refuse it as above."""
    with _beginning.lock:
        refuse_new_replies()
        _beginning.count += 1
    try:
        yield
    finally:
        with _beginning.lock:
            _beginning.count -= 1
