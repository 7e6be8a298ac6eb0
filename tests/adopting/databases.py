"""Databases of the predecessor's, each test's own, and this service's commands on them."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.adopting import predecessor
from tests.support.database import REPOSITORY


@contextmanager
def empty_database() -> Iterator[str]:
    """Create a database, give its URL, and drop it at the end."""
    here = os.environ["DATABASE_URL"]
    name = f"adopting_{secrets.token_hex(4)}"
    with psycopg.connect(here, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlsplit(here)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def predecessors_database() -> Iterator[str]:
    """Create a database as the predecessor left it, give its URL, and drop it at the end."""
    with empty_database() as url:
        with psycopg.connect(url) as old:
            old.execute(predecessor.SCHEMA)
            old.execute(predecessor.ROWS)
        yield url


def start(url: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command of manage.py on a database."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of manage.py on a database, whatever comes of it."""
    process = start(url, *arguments)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def manage(url: str, *arguments: str) -> str:
    """Run a command of manage.py that must succeed; return what it says."""
    result = run(url, *arguments)
    assert result.returncode == 0, f"{arguments}\n{result.stdout}{result.stderr}"
    return result.stdout
