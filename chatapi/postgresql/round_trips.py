"""Statements that PostgreSQL gets together.

Each wait for PostgreSQL is a turn of the event loop, which takes tens of milliseconds while hundreds of replies are running.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections


@contextmanager
def one_round_trip(*, is_last: bool = False) -> Iterator[None]:
    """Send the statements of the block without waiting in between. Their cursors have results only after the block.

    PostgreSQL runs them in order, each with its own snapshot. If one fails, it skips the rest, and the block raises the error.
    `is_last` says that the transaction ends with the block: then the commit is sent along.
    """
    connection: Any = connections["default"]
    connection.ensure_connection()
    session: Any = connection.connection
    with connection.wrap_database_errors, session.pipeline():
        yield
        # An inner block, in a test's transaction for example, commits nothing. After this commit, Django's sends nothing.
        if is_last and len(connection.atomic_blocks) == 1:
            session.commit()
    connection.has_answered = True


def replace_dead_connection() -> bool:
    """Take another connection if this thread's was dead when it came from the pool. Return whether it was."""
    connection: Any = connections["default"]
    return bool(connection.replace_dead_connection())
