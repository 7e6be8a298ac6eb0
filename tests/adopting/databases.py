"""Databases of the predecessor, one for each test."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.adopting import predecessor
from tests.support.database import empty_database


@contextmanager
def predecessors_database() -> Iterator[str]:
    """Create a database as the predecessor left it, give its URL, and drop it at the end."""
    with empty_database() as url:
        with psycopg.connect(url) as old:
            old.execute(predecessor.SCHEMA)
            old.execute(predecessor.ROWS)
        yield url
