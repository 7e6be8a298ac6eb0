"""Databases of a PostgreSQL that only the benchmarks use, with default durability."""

import atexit
import os
import subprocess
import sys
from urllib.parse import quote

import psycopg
from psycopg import sql

from devstack.folder import PROJECT, devstack_folder
from devstack.postgres import PostgresServer


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


def manage(url: str, *arguments: str) -> None:
    environment = {"SECRET_KEY": "only-for-benchmarks-long-enough-to-start", **os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=PROJECT, env=environment, check=True)
