"""The names under which a session of PostgreSQL keeps its planned statements (see docs/decisions/0012).

A name is a hash of the SQL and of the types of its values, so it means the same statement in every session. A pooler that lends
one server session to many clients loses names. Whether there is one shows in the first exchange: the server's process is not
the one that the session was told of at its start. Then, without `DATABASE_PREPARED_STATEMENTS=true`, no statement gets a name.

A plan that was made for an almost empty table would read all of it, however large it is by now. So a session drops its plans
after 32 exchanges, and whenever their number has doubled.
"""

import functools
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from psycopg import Error
from psycopg.pq import Format

logger = logging.getLogger(__name__)

# Per session. Each takes some 30 KB of memory in PostgreSQL. The service has about 60 statements; each can have several
# combinations of types, because an integer is sent as the smallest type that holds it.
MOST_NAMES = 256
FIRST_PLANS_KEPT = 32

# No such name, and a name that exists.
LOST_STATES = {"26000", "42P05"}
# "cached plan must not change result type": a migration changed the type of a column.
CHANGED_STATE = "0A000"

# Whether a name was lost in this process.
_are_lost = False


class StatementNames:
    """What one session knows of its names."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        # The form in which the rows of a statement come, once it was executed.
        self.formats: dict[bytes, Format] = {}
        # Whether the server may have names that are of no use.
        self.must_be_cleared = False
        # The first exchange of a session asks for its process and names nothing.
        self.is_checked = settings.DATABASE_PREPARED_STATEMENTS == "true"
        self.is_off = settings.DATABASE_PREPARED_STATEMENTS == "false"
        self._exchanges = 0
        self._plans_kept = FIRST_PLANS_KEPT

    def are_plans_old(self) -> bool:
        """Count an exchange. Return whether all plans, those of triggers included, are to be made anew before it."""
        self._exchanges += 1
        if self._exchanges <= self._plans_kept or not self.known:
            return False
        self._plans_kept = 2 * self._exchanges
        return True

    @property
    def asks_for_process(self) -> bool:
        """Whether the next exchange must ask for the process of the server."""
        return not (self.is_checked or self.is_off or _are_lost)

    def check_process(self, told: int, actual: int) -> None:
        """Compare the process that the session was told of at its start with the one that it talks to."""
        self.is_checked = True
        if told != actual:
            self.is_off = True
            _log_once("A connection pooler is in use: PostgreSQL plans each statement anew")

    def find(self, query: bytes, types: Sequence[int]) -> bytes | None:
        """Return a statement's name, or None if it must be sent without one."""
        if self.is_off or _are_lost or not self.is_checked:
            return None
        name = _name(query, tuple(types))
        return name if name in self.known or len(self.known) < MOST_NAMES else None


def names_of(session: Any) -> StatementNames:
    """Return the names of a connection of psycopg's."""
    names: StatementNames | None = getattr(session, "statement_names", None)
    if names is None:
        names = session.statement_names = StatementNames()
    return names


def forget_after(session: Any, failure: Error) -> bool:
    """Return whether a statement failed because of its name or its plan, so that it can be sent again.

    If a name was lost, something between the service and PostgreSQL loses them, and this process uses none from now on.
    """
    global _are_lost
    names = names_of(session)
    if failure.sqlstate in LOST_STATES:
        _are_lost = True
        _log_once("PostgreSQL lost a prepared statement: from now on it plans each anew. See DATABASE_PREPARED_STATEMENTS")
    elif failure.sqlstate != CHANGED_STATE or not names.known:
        return False
    names.known.clear()
    names.formats.clear()
    names.must_be_cleared = True
    return True


@functools.lru_cache(maxsize=4096)
def _name(query: bytes, types: tuple[int, ...]) -> bytes:
    return b"chat_" + hashlib.sha256(query + repr(types).encode()).hexdigest()[:24].encode()


@functools.cache
def _log_once(message: str) -> None:
    logger.warning(message)
