"""Remember when history was last pruned, and show it in the metrics.

The command is another process, perhaps on another machine, and has ended before Prometheus asks. So it leaves a row for each
combination of criteria, which each worker reads now and then: a scrape itself uses no database.
"""

import logging
import threading
import time

from django.conf import settings
from prometheus_client import Gauge

from chatapi.database.connections import own_cursor
from chatapi.database.failures import is_database_away
from conversations.models import PruneRun

logger = logging.getLogger(__name__)

_ended_at = Gauge(
    "chat_api_last_prune_timestamp_seconds",
    "When the last scheduled run of prune_history ended (Unix time), by its criteria; 0 before the first.",
    ["criteria"],
    multiprocess_mode="livemax",
)
_conversations = Gauge(
    "chat_api_last_prune_conversations",
    "Conversations that this run deleted.",
    ["criteria"],
    multiprocess_mode="livemax",
)
_messages = Gauge(
    "chat_api_last_prune_messages",
    "Messages that this run deleted.",
    ["criteria"],
    multiprocess_mode="livemax",
)
# Exist from the start, so that an alert can say that there was no run.
for _gauge in (_ended_at, _conversations, _messages):
    _gauge.labels("expired")

READ_PAUSE_S = 15.0
READ_SQL = """
SELECT criteria, extract(epoch FROM finished_at)::float8, conversations, messages FROM prune_runs ORDER BY criteria LIMIT 200
"""


def note_prune_run(criteria: str, *, conversations: int, messages: int) -> None:
    """Remember a run that ended without a failure, in place of the one before with the same criteria (their names)."""
    run = PruneRun(criteria=criteria, conversations=conversations, messages=messages)
    PruneRun.objects.bulk_create(
        [run],
        update_conflicts=True,
        unique_fields=["criteria"],
        update_fields=["finished_at", "conversations", "messages"],
    )


def show_prune_runs() -> None:
    """Set the gauges to what the database has. One query."""
    with own_cursor() as cursor:
        cursor.execute(READ_SQL)
        rows = cursor.fetchall()
    for criteria, ended_at, conversations, messages in rows:
        _ended_at.labels(criteria).set(ended_at)
        _conversations.labels(criteria).set(conversations)
        _messages.labels(criteria).set(messages)


def watch_prune_runs() -> None:
    """Keep the gauges current in a thread of its own, where metrics are served."""
    if settings.ARE_METRICS_SERVED:
        threading.Thread(target=_watch, name="prune-runs", daemon=True).start()


def _watch() -> None:
    is_failing = False
    while True:
        try:
            show_prune_runs()
            is_failing = False
        except Exception as failure:
            # Other threads log that the database is away.
            if not is_failing and not is_database_away(failure):
                logger.exception("reading the runs of prune_history failed")
            is_failing = True
        time.sleep(READ_PAUSE_S)
