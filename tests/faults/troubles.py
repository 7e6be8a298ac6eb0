"""Trouble around the service that is no process's death: locks, a paused database, a clock that steps, no more files."""

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg

from devstack.postgres import PostgresServer

# The service reads the time of the database by these names. A schema that PostgreSQL searches first has others in their place.
CLOCKS = ("now", "statement_timestamp", "transaction_timestamp", "clock_timestamp")
STEP_S = 40
# Of the files that a process has open, none changes. It can open no more.
NO_MORE_FILES = 3


def set_up_clock(connection: psycopg.Connection[Any]) -> None:
    """Let the database's clock be stepped by `step_clock`."""
    connection.execute("CREATE SCHEMA fault_clock")
    connection.execute("CREATE TABLE fault_clock.step (seconds integer NOT NULL)")
    connection.execute("INSERT INTO fault_clock.step VALUES (0)")
    for name in CLOCKS:
        connection.execute(
            f"CREATE FUNCTION fault_clock.{name}() RETURNS timestamptz LANGUAGE sql STABLE AS"
            f" 'SELECT pg_catalog.{name}() + make_interval(secs => (SELECT seconds FROM fault_clock.step))'"
        )
    connection.execute("ALTER DATABASE postgres SET search_path = fault_clock, pg_catalog, public")


def step_clock(postgres: PostgresServer, seconds: float) -> threading.Thread:
    """Set the database's clock forward now, and back after a while."""

    def step(by_s: int) -> None:
        with postgres.connect() as connection:
            connection.execute("UPDATE fault_clock.step SET seconds = seconds + %s", [by_s])

    step(STEP_S)
    return later(seconds, lambda: step(-STEP_S))


def pause(postgres: PostgresServer, seconds: float) -> threading.Thread:
    """Stop all processes of PostgreSQL now, for a while."""
    pids = _processes_of(postgres)
    signal_all(pids, signal.SIGSTOP)
    return later(seconds, lambda: signal_all(pids, signal.SIGCONT))


def _processes_of(postgres: PostgresServer) -> list[int]:
    assert postgres._process
    master = postgres._process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [master, *map(int, children)]


def lock_table(postgres: PostgresServer, table: str, mode: str, seconds: float) -> threading.Thread:
    """Lock a table now, for a while."""
    connection = postgres.connect()
    connection.execute("SET lock_timeout = '5s'")
    connection.execute("BEGIN")
    connection.execute(f"LOCK TABLE {table} IN {mode} MODE")
    return later(seconds, connection.close)


def take_files_away(pid: int, seconds: float) -> threading.Thread:
    """Let a process open no more files and sockets, for a while."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (NO_MORE_FILES, before[1]))

    def give_back() -> None:
        if Path(f"/proc/{pid}").exists():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    return later(seconds, give_back)


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        send_signal(pid, number)


def send_signal(pid: int, number: signal.Signals) -> bool:
    """Signal a process; False where it is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def later(seconds: float, action: Callable[[], Any]) -> threading.Thread:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer
