"""The history that pruning is measured on: seeded once into a template database, and copied anew for every measurement.

A copy starts with warm caches and no statistics missing.
"""

import time

import psycopg
from psycopg import sql

from benchmarks.databases import execute, in_database
from tests.support.database import manage

UNTIL = "2026-06-01"
# A third of what the seeding spreads over the year before.
OLDER_THAN = "2025-10-01"
CHOSEN = f"updated_at < '{OLDER_THAN}Z' AND NOT is_favorited"


def prepare(base: str, conversations: int, messages: int) -> None:
    execute(base, "DROP DATABASE IF EXISTS prune_template WITH (FORCE)", "CREATE DATABASE prune_template")
    url = in_database(base, "prune_template")
    manage(url, "migrate", "--verbosity=0")
    users = max(1, conversations // 30)
    numbers = [f"--users={users}", f"--conversations={conversations}", f"--messages={messages}"]
    manage(url, "seed_demo", *numbers, f"--until={UNTIL}")
    execute(url, "VACUUM (ANALYZE, FREEZE)", "CHECKPOINT")


def fresh_copy(base: str) -> str:
    execute(base, "DROP DATABASE IF EXISTS prune_copy WITH (FORCE)", "CREATE DATABASE prune_copy TEMPLATE prune_template")
    url = in_database(base, "prune_copy")
    # Read everything once: neither way should pay for what the other has loaded.
    execute(url, "SELECT count(*), sum(length(content)) FROM messages", "SELECT count(*) FROM conversations", "CHECKPOINT")
    return url


def run_sql(url: str, statements: tuple[str, ...]) -> float:
    with psycopg.connect(url) as connection:
        started_at = time.perf_counter()
        for statement in statements:
            connection.execute(sql.SQL(statement))
        connection.commit()
        return time.perf_counter() - started_at


def run_prune(url: str, *arguments: str) -> float:
    """Return the seconds that pruning took, without those that Python and Django take to start."""
    started_at = time.perf_counter()
    manage(url, "prune_history", "--older-than=1900-01-01", "--yes", "--verbosity=0")
    start_s = time.perf_counter() - started_at
    started_at = time.perf_counter()
    manage(url, "prune_history", f"--older-than={OLDER_THAN}", "--yes", "--verbosity=0", *arguments)
    return time.perf_counter() - started_at - start_s


def deleted_rows(base: str) -> tuple[int, int]:
    with psycopg.connect(in_database(base, "prune_template")) as connection:
        conversations = f"SELECT id FROM conversations WHERE {CHOSEN}"
        row = connection.execute(
            sql.SQL(
                f"SELECT count(*), (SELECT count(*) FROM messages WHERE conversation_id IN ({conversations})) "
                f"FROM ({conversations}) AS chosen"
            )
        ).fetchone()
    assert row
    return row[0], row[1]
