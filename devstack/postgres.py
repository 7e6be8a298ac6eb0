"""The embedded PostgreSQL: several processes share a cluster, and it stops when the last of them has ended.

Principle: the kernel counts the users. Each holds a shared lock on `users.lock`, which vanishes with it however it ends; a
keeper process, parent of the server, stops the server once it gets that lock for itself. So there are no lists of process
ids that a kill -9 would leave wrong. The wheel's own `get_server` keeps such a list, takes any process with the old id for
a running server, and as root opens every folder above the data and above `.venv` to everyone; of the wheel only the
programs are used.
"""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from devstack.folder import PROJECT
from devstack.locks import FileLock
from devstack.watcher import unmarked_environment

# Addresses of sockets end at 107 bytes on Linux and at 103 on macOS.
SOCKET_PATH_LIMIT = 100
START_TIMEOUT_S = 120


class PostgresProblem(Exception):
    """The server did not start; the text holds its own last words."""


def socket_folder(folder: Path) -> Path:
    """Return where the cluster's socket lies: with the data, or below /tmp where that path is too long for a socket."""
    beside = folder / "data"
    too_long = len(os.fsencode(beside / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT
    # PostgreSQL and libpq read a comma as the start of a second folder.
    if too_long or set(str(beside)) & set(",\"'"):
        return Path("/tmp") / f"chat-api-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    return beside


class Cluster:
    """A PostgreSQL cluster in a folder, used by this process from `start` to `stop` or to its end."""

    def __init__(self, folder: Path, options: dict[str, str] | None = None) -> None:
        """Name the cluster; `options` are server settings, which count for the process that happens to start the server."""
        self.folder = folder.resolve()
        self.log = self.folder / "log"
        self._options = options or {}
        self._users = FileLock(self.folder / "users.lock")
        self._keeper = FileLock(self.folder / "keeper.lock")

    def start(self) -> None:
        """Start the server, or join those who use it already; a crashed one is recovered."""
        self.folder.mkdir(mode=0o711, exist_ok=True)
        starting = FileLock(self.folder / "start.lock")
        if not starting.acquire(wait_s=START_TIMEOUT_S):
            raise PostgresProblem(f"Another process has been starting PostgreSQL in {self.folder} for {START_TIMEOUT_S} s.")
        try:
            # A keeper that is stopping the server holds this until it has ended.
            if not self._users.acquire(shared=True, wait_s=START_TIMEOUT_S):
                raise PostgresProblem(f"PostgreSQL in {self.folder} does not stop.")
            self._join_or_start_keeper()
        except BaseException:
            self._users.release()
            raise
        finally:
            starting.release()

    def _join_or_start_keeper(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._keeper.is_free():
            if self._answers():
                return
            # The server has crashed or is recovering: either it answers soon or its keeper ends.
            if time.monotonic() > deadline:
                raise PostgresProblem(f"PostgreSQL in {self.folder} runs but does not answer. See {self.log}.")
            time.sleep(0.05)
        settings = [f"{name}={value}" for name, value in self._options.items()]
        started = subprocess.run(
            [sys.executable, "-m", "devstack.postgres_keeper", str(self.folder), *settings],
            cwd=PROJECT,
            env=unmarked_environment(),  # other runs may be using the server when this one ends
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is not for it
        )
        if started.returncode != 0:
            raise PostgresProblem(started.stderr.strip() or f"PostgreSQL did not start. See {self.log}.")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def is_running(self) -> bool:
        return not self._keeper.is_free()

    def url(self, database: str) -> str:
        """Return the DATABASE_URL of a database."""
        return f"postgresql://postgres@/{database}?host={quote(str(socket_folder(self.folder)))}"

    def create_database(self, name: str) -> None:
        """Create a database if it is missing."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                return
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except psycopg.errors.UniqueViolation:  # two at once: the other was first
                pass
            except psycopg.errors.DuplicateDatabase:
                pass

    def descriptor(self) -> int:
        """Return what a child process must inherit to keep the server running until that child has ended, too."""
        return self._users.descriptor()

    def stop(self) -> None:
        """Leave the server; if nobody else uses it, wait until it has stopped."""
        alone = self._users.acquire()
        self._users.release()
        deadline = time.monotonic() + 60
        while alone and not self._keeper.is_free() and time.monotonic() < deadline:
            time.sleep(0.02)
