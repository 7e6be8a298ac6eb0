"""Databases for the servers under test, on the PostgreSQL that DATABASE_URL names, and the service's commands on them.

Migrating takes two seconds of processor time, copying a few hundredths. So a test run migrates one database and copies it.
"""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from devstack.folder import PROJECT
from devstack.postgres import PostgresServer, programs_folder


@contextmanager
def empty_database() -> Iterator[str]:
    """Create a database, give its URL, and drop it at the end."""
    name = f"test_{secrets.token_hex(4)}"
    _create(name)
    try:
        yield _url(name)
    finally:
        _drop(name)


@contextmanager
def migrated_database() -> Iterator[str]:
    """Create a database with the tables of the newest migration, give its URL, and drop it at the end."""
    name = f"test_{secrets.token_hex(4)}"
    with _template() as template:
        _create(name, template)
    try:
        yield _url(name)
    finally:
        _drop(name)


def fill(server: PostgresServer, database: str = "postgres") -> None:
    """Make the tables of the newest migration in an empty database of another server."""
    if "DATABASE_URL" not in os.environ:  # not in a test run
        manage(server.url(database), "migrate", "--verbosity=0")
        return
    programs = programs_folder()
    with _template() as template:
        dump = subprocess.run([programs / "pg_dump", _url(template)], capture_output=True, check=True).stdout
    load: list[str | PathLike[str]] = [
        programs / "psql",
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        server.url(database),
    ]
    subprocess.run(load, input=dump, stdout=subprocess.DEVNULL, check=True)


def cut_connections(url: str) -> None:
    """Cut every connection of the service to this PostgreSQL server, which goes on running."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chat-api'")


def start_command(url: str, *arguments: str, file_limit: int | None = None) -> "subprocess.Popen[str]":
    """Start a command of manage.py on a database. It can write no file beyond `file_limit` bytes, as on a full disk."""
    limit = [] if file_limit is None else ["prlimit", f"--fsize={file_limit}"]
    environment = {"SECRET_KEY": "only-for-commands-long-enough-to-start-with", **os.environ, "DATABASE_URL": url}
    if limit:
        # What it visits can't be written either (see `make coverage`).
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
    return subprocess.Popen(
        [*limit, sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_command(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of manage.py on a database. It may fail."""
    process = start_command(url, *arguments)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def manage(url: str, *arguments: str) -> str:
    """Run a command of manage.py that must succeed. Return what it prints."""
    result = run_command(url, *arguments)
    assert result.returncode == 0, f"{arguments}\n{result.stdout}{result.stderr}"
    return result.stdout


@contextmanager
def _template() -> Iterator[str]:
    """Give the name of a migrated database to copy. The first process of the run that needs one makes it.

    PostgreSQL copies no database that has connections, so one process at a time uses it. On a server that outlives the run,
    the next run replaces it.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        name = f"test_{connection.info.dbname}_template"
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [name])  # until the connection is closed
        comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        if connection.execute(comment, [name]).fetchone() != (run,):
            _drop(name)
            _create(name)
            manage(_url(name), "migrate", "--verbosity=0")
            connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(run)))
        yield name


def _url(name: str) -> str:
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def _create(name: str, template: str = "template1") -> None:
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(statement)


def _drop(name: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stop all processes of a server, as a hypervisor does. Its kernel goes on accepting connections."""
    assert server._process
    master = server._process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    # The master first, so that it starts no others.
    processes = [master, *map(int, children)]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            # It may have ended.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
