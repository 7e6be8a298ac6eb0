"""A database of its own for the servers under test, on the PostgreSQL that DATABASE_URL names."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def migrated_database() -> Iterator[str]:
    """Create a database, migrate it, give its URL, and drop it at the end."""
    here = os.environ["DATABASE_URL"]
    name = f"streams_{secrets.token_hex(4)}"
    with psycopg.connect(here, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            url = urlsplit(here)._replace(path=f"/{name}").geturl()
            migrate(url)
            yield url
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def cut_connections(url: str) -> None:
    """Cut every connection of the service to this PostgreSQL server, which goes on running."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chat-api'")


def migrate(url: str) -> None:
    """Bring a database to the newest migration."""
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    result = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={"SECRET_KEY": "only-for-the-migration-long-enough-to-start", **os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}"
