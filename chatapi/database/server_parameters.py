"""PostgreSQL's parameters that every connection of this service sets, whatever the role, the database or the server has.

Four kinds: what the code relies on (isolation, forms of values), that a statement is planned once, how long a connection may
wait for a lock or keep one without doing anything, and how soon the server notices that this end is gone. A client that freezes
or vanishes in the middle of a transaction would otherwise keep its locks until TCP gives up, after minutes, and other requests
for the same rows would wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.rows import tuple_row

# Below the 5 s that a request waits for a connection, so that a lock that somebody forgot can't take all connections.
LOCK_TIMEOUT_S = 3
IDLE_IN_TRANSACTION_S = 5

FORMS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "synchronize_seqscans": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    # Else a search finds a random part.
    "gin_fuzzy_search_limit": "0",
    # Pools keep unused connections for a while. Absent before PostgreSQL 14.
    "idle_session_timeout": "0",
}
# For TCP; a local socket ignores them. The last one is absent before PostgreSQL 14 and on some systems.
NOTICING = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "10000",
    "client_connection_check_interval": "5000",
}
# `statement_timeout` stays as the role has it: operators may bound what a request can cost.
SERVING = {
    **FORMS,
    **NOTICING,
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
    # Left to itself, PostgreSQL compares estimates of costs. As tables grow, it changes to planning a list or a send's survey
    # anew each time, which costs as much as the statement. See `round_trips` for those that no single plan suits.
    "plan_cache_mode": "force_generic_plan",
}
# Commands work in batches for hours, write to slow disks, and wait for locks where they must.
COMMANDS = {
    **FORMS,
    **NOTICING,
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "5min",
    "statement_timeout": "0",
    # Absent before PostgreSQL 17.
    "transaction_timeout": "0",
}
SET_SQL = """
SELECT set_config(wanted.name, wanted.value, false)
FROM unnest(%s::text[], %s::text[]) AS wanted (name, value) JOIN pg_settings ON pg_settings.name = wanted.name
"""

_settings = SERVING


@contextmanager
def parameters_of_commands() -> Iterator[None]:
    """Let the connections that this process opens in the block wait as long as an operator's command needs."""
    global _settings
    before, _settings = _settings, COMMANDS
    try:
        yield
    finally:
        _settings = before


def set_parameters(connection: Any) -> None:
    """Set what this process needs in a new connection of psycopg's. One statement."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(SET_SQL, [list(_settings), list(_settings.values())])
