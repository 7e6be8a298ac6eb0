"""Databases of a PostgreSQL that only the benchmarks use, with default durability."""

import atexit
from urllib.parse import quote

import psycopg
from psycopg import sql

from devstack.folder import devstack_folder
from devstack.postgres import PostgresServer
from tests.support.database import manage


def start_postgres() -> str:
    """Start PostgreSQL, which runs until this process ends, and return the URL of its first database."""
    server = PostgresServer(devstack_folder() / "benchmark-postgres")
    server.start()
    atexit.register(server.stop)
    return server.url()


def new_database(base: str, name: str, *, is_migrated: bool = True) -> str:
    """Return the URL of a new database without rows, with the service's tables or without."""
    execute(base, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}")
    url = in_database(base, name)
    if is_migrated:
        manage(url, "migrate", "--verbosity=0")
    return url


def in_database(base: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return base.replace("/postgres?", f"/{quote(name)}?")


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement))
