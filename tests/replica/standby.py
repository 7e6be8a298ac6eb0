"""A primary and its standby, whose replay can be stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import redis

from chatapi.cache.shared_cache import EXIST
from devstack.postgres import PostgresServer
from tests.support.waiting import wait_until


class Pair:
    def __init__(self, primary: PostgresServer, standby: PostgresServer) -> None:
        self.primary = primary
        self.standby = standby

    def write(self, statement: str, *values: Any) -> None:
        """Change something as other software does, which tells the service nothing."""
        with self.primary.connect() as connection:
            connection.execute(statement, values)

    def wait_for_standby(self) -> None:
        """Wait until the standby has what the primary has now."""
        with self.primary.connect() as connection:
            (position,) = connection.execute("SELECT pg_current_wal_lsn()").fetchone() or ()
        with self.standby.connect() as connection:
            wait_until(
                lambda: (connection.execute("SELECT pg_last_wal_replay_lsn() >= %s", [position]).fetchone() or [False])[0],
                "the standby has replayed the log",
            )

    @contextmanager
    def replay_stopped(self) -> Iterator[None]:
        """Keep the standby as it is now, although it goes on receiving."""
        self.wait_for_standby()
        with self.standby.connect() as connection:
            connection.execute("SELECT pg_wal_replay_pause()")
            wait_until(
                lambda: connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",),
                "the replay has stopped",
            )
            try:
                yield
            finally:
                connection.execute("SELECT pg_wal_replay_resume()")


class Marks:
    """The marks of recent writes in the shared cache."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)

    def expire(self) -> None:
        """Make all marks as old as they must be before a user reads from the replica."""
        # As if the cache had been asked before.
        self._redis.script_load(EXIST)
        self._redis.set(":1:replica:alive", b"")
        for key in (":1:replica:pause", *self._redis.scan_iter(match=":1:replica:written:*")):
            self._redis.delete(key)

    def forget(self, prefix: str) -> None:
        """Remove what the cache has under keys with this prefix."""
        for key in self._redis.scan_iter(match=f":1:{prefix}*"):
            self._redis.delete(key)

    def empty_cache(self) -> None:
        self._redis.flushall()


def add_history(pair: Pair, user_id: UUID, title: str) -> UUID:
    """Add a conversation with a message of this text, and one sent message to the usage. Return the conversation's id."""
    conversation_id = uuid4()
    pair.write("INSERT INTO conversations (id, user_id, title) VALUES (%s, %s, %s)", conversation_id, user_id, title)
    pair.write(
        "INSERT INTO messages (id, conversation_id, role, content) VALUES (%s, %s, 'user', %s)", uuid4(), conversation_id, title
    )
    pair.write(
        "INSERT INTO usage_totals AS total (user_id, bucket, messages) VALUES (%s, date_bin('15 minutes', now(), 'epoch'), 1)"
        " ON CONFLICT (user_id, bucket) DO UPDATE SET messages = total.messages + 1",
        user_id,
    )
    return conversation_id
