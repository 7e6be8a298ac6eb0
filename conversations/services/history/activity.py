"""Correct the time of the last turn of the predecessor's conversations.

The predecessor does not change `updated_at` when it saves a message. Since migration 0010 a trigger does. This corrects the
conversations from before, once. Correct rows are only read, so a run can be interrupted and repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection, transaction

from conversations.models import Conversation
from conversations.services.history.id_batches import DEFAULT_BATCH_SIZE, Walk, pause, prefer_indexes

# A locked conversation has a writer, which sets `updated_at`. The rest of the batch does not wait for it.
CORRECT_SQL = """
WITH stale AS MATERIALIZED (
    SELECT conversations.id, newest.created_at FROM conversations
    CROSS JOIN LATERAL (
        SELECT created_at FROM messages
        WHERE conversation_id = conversations.id AND created_at < clock_timestamp() + interval '1 hour'
        ORDER BY created_at DESC LIMIT 1
    ) AS newest
    WHERE conversations.id = ANY(%s::uuid[]) AND newest.created_at > '-infinity'
      AND (updated_at IS NULL OR updated_at = 'infinity' OR updated_at < newest.created_at)
    FOR NO KEY UPDATE OF conversations SKIP LOCKED
)
UPDATE conversations SET updated_at = stale.created_at FROM stale WHERE conversations.id = stale.id
"""


@dataclass(slots=True)
class CorrectionResult:
    """What a run has done so far."""

    examined: int = 0
    corrected: int = 0
    is_complete: bool = False


def correct_activity(
    *,
    batch_size: int = DEFAULT_BATCH_SIZE,
    pause_s: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[CorrectionResult], None] = lambda result: None,
) -> CorrectionResult:
    """Move each `updated_at` that is older than the conversation's newest message to that message's time."""
    # A corrected row moves ahead of the walk and is examined again.
    walk = Walk(Conversation.objects.all(), batch_size=batch_size)
    result = CorrectionResult()
    while not should_stop():
        with transaction.atomic(), connection.cursor() as cursor:
            prefer_indexes()
            window = walk.next_window()
            if window:
                cursor.execute(CORRECT_SQL, [window.text])
                result.corrected += cursor.rowcount
        if not window:
            result.is_complete = True
            break
        result.examined += len(window)
        on_batch(result)
        pause(pause_s, should_stop)
    return result
