"""Let only one `migrate` at a time change a database.

Two at once would both plan the same steps, and the second would fail at the first of them that the other has made.

A transaction holds the lock, not a session. So it also works through PgBouncer in transaction mode, and ends with its process.
The transaction is idle and has no snapshot, so the migrations' index builds don't wait for it. For the same reason a second run
asks again and again: a statement that waits for the lock would have a snapshot, and both runs would wait for each other.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper

ASK_EVERY_S = 0.5
TRY_SQL = "SELECT pg_try_advisory_xact_lock(hashtextextended('chat-api:migrate', 0))"


@contextmanager
def one_migration_at_a_time(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Wait until no other `migrate` changes this database, and keep others waiting during the block."""
    own = connection.copy(alias=connection.alias)
    own.settings_dict["OPTIONS"] = {**own.settings_dict["OPTIONS"], "pool": False}
    try:
        has_waited = False
        while not _try(own):
            if not has_waited:
                has_waited = True
                sys.stderr.write("Another migrate runs on this database. Waiting for its end.\n")
            time.sleep(ASK_EVERY_S)
        yield
    finally:
        own.close()


def _try(own: BaseDatabaseWrapper) -> bool:
    with own.cursor() as cursor:
        # At higher levels an idle transaction would keep its snapshot.
        cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute(TRY_SQL)
        (is_ours,) = cursor.fetchone()
        if not is_ours:
            # A transaction of its own for each attempt: a pooler lends few connections.
            cursor.execute("ROLLBACK")
    return bool(is_ours)
