"""Django's PostgreSQL backend, which also reads the times that Python does not know, and survives dead connections."""

import functools
import time
from typing import Any

from django.db import OperationalError
from django.db.backends.postgresql import base
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from psycopg.pq import PipelineStatus
from psycopg_pool import PoolTimeout

from chatapi.database.connections import tell_before_waiting
from chatapi.database.pools import lend_newest_first, replace_connections
from chatapi.database.server_parameters import set_parameters
from chatapi.database.timestamps import with_all_timestamps
from chatapi.database.user_shares import user_shares
from chatapi.observability.logs import user_id_var
from chatapi.permits.permit import Permit

# One set of shares for each pool, which are told apart by their sizes.
_shares_of = functools.cache(user_shares)


class Cursor(CursorWrapper):
    """A cursor that repeats a statement on another connection where it is the first one and its connection was dead.

    The pool looks at a connection's socket. A session that was just told to end closes its socket a moment later.
    """

    db: "DatabaseWrapper"

    def _execute(self, sql: str, params: Any, *context: Any) -> Any:
        hidden: Any = super()
        try:
            result = hidden._execute(sql, params, *context)
        except OperationalError:
            if not self._may_be_repeated(sql) or not self.db.replace_dead_connection():
                raise
            self.cursor = self.db.create_cursor()
            result = hidden._execute(sql, params, *context)
        if not self._is_in_pipeline():
            self.db.has_answered = True
        return result

    def _may_be_repeated(self, sql: str) -> bool:
        """Whether the statement can't have changed anything: it only reads, or it began a transaction, which is gone."""
        # A cursor with a name belongs to its connection.
        if self._is_in_pipeline() or hasattr(self.cursor, "name"):
            return False
        return not self.db.connection.autocommit or sql.lstrip().startswith("SELECT")

    def _is_in_pipeline(self) -> bool:
        return bool(self.db.connection.pgconn.pipeline_status != PipelineStatus.OFF)


class DatabaseWrapper(base.DatabaseWrapper):
    connection: Any
    # Whether the connection has answered since it was taken from the pool.
    has_answered = False
    # That of the user whose share of the pool this connection belongs to.
    _permit: Permit | None = None

    @property
    def pool(self) -> Any:
        pool = super().pool
        if pool is not None:
            lend_newest_first(pool)
        return pool

    def connect(self) -> None:
        """Take a connection from the pool.

        Django's method prepares each as if it were new, and makes the parameters of one that it does not open: half of what
        taking a connection costs. Here only the first use of a connection prepares it.
        """
        if self.pool is None:
            super().connect()
            return
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = self.errors_occurred = False
        self.savepoint_ids, self.atomic_blocks = [], []
        self.health_check_enabled, self.health_check_done = self.settings_dict["CONN_HEALTH_CHECKS"], True
        # Django closes it at the end of the request: a pool allows no other age.
        self.close_at = time.monotonic()
        self.connection = session = self.get_new_connection({})
        if getattr(session, "is_prepared", False) and session.autocommit:
            self.autocommit = True
        else:
            self.set_autocommit(True)
            self.init_connection_state()
            connection_created.send(sender=type(self), connection=self)
            session.is_prepared = True
        self.run_on_commit = []

    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        return {**parameters, "context": with_all_timestamps(parameters["context"])}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.has_answered = False
        self._take_share()
        try:
            return super().get_new_connection(conn_params)
        except BaseException:
            self._give_share_back()
            raise

    def _close(self) -> None:
        hidden: Any = super()
        try:
            hidden._close()
        finally:
            self._give_share_back()

    def _take_share(self) -> None:
        user, pool = user_id_var.get(), self.settings_dict["OPTIONS"].get("pool")
        if not user or not pool or self._permit is not None:
            return
        shares = _shares_of(pool["max_size"])
        self._permit = shares.take(user)
        if self._permit is None:
            if shares.in_all < pool["max_size"]:
                # Requests of other users may have what is free.
                tell_before_waiting()
            # Otherwise this one keeps its place for a moment (see `incoming.admission`). The next in line would be begun only
            # to wait for a connection, too.
            self._permit = shares.take(user, wait_s=pool["timeout"], before_long_wait=tell_before_waiting)
        if self._permit is None:
            raise PoolTimeout("one user's requests wait with too many connections")

    def _give_share_back(self) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.release()

    def _configure_connection(self, connection: Any) -> bool:
        hidden: Any = super()
        hidden._configure_connection(connection)
        set_parameters(connection)
        return True

    def make_cursor(self, cursor: Any) -> CursorWrapper:
        return Cursor(cursor, self)

    def replace_dead_connection(self) -> bool:
        """Take another connection if this one was dead when it came from the pool. Return whether it was."""
        dead = self.connection
        # There is none if the pool could not lend one.
        if dead is None or self.has_answered or not self.pool or not dead.closed:
            return False
        replace_connections()
        self._close()
        with self.wrap_database_errors:
            self.connection = self.get_new_connection({})
        self.connection.autocommit = dead.autocommit
        return True
