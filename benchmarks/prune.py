"""Compare `prune_history` with the plain SQL DELETE of the same rows, on a PostgreSQL of its own with default durability.

    python -m benchmarks.prune --conversations 30000 --messages 300000

Every way starts from the same rows, copied anew from a template database, with warm caches and no statistics missing.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from devstack.folder import PROJECT, devstack_folder
from devstack.postgres import Cluster

UNTIL = "2026-06-01"
CHOSEN = "updated_at < '2026-03-01Z' AND NOT is_favorited"
TWO_DELETES = (
    f"DELETE FROM messages USING conversations c WHERE conversation_id = c.id AND c.{CHOSEN.replace('NOT is', 'NOT c.is')}",
    f"DELETE FROM conversations WHERE {CHOSEN}",
)
CASCADE = (f"DELETE FROM conversations WHERE {CHOSEN}",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=30_000)
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many is shown")
    options = parser.parse_args()
    cluster = Cluster(devstack_folder() / "benchmark-postgres")
    cluster.start()
    base = cluster.url("postgres")
    prepare(base, options.conversations, options.messages)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "pruned.jsonl.gz")
        ways: dict[str, Callable[[str], float]] = {
            "plain SQL, two DELETEs": lambda url: run_sql(url, TWO_DELETES),
            "plain SQL, DELETE with CASCADE": lambda url: run_sql(url, CASCADE),
            "prune_history": lambda url: run_prune(url),
            "prune_history --archive": lambda url: run_prune(url, f"--archive={archive}"),
        }
        best = dict.fromkeys(ways, float("inf"))
        memory_mib = 0.0
        for _ in range(options.rounds):
            for name, way in ways.items():
                archive.unlink(missing_ok=True)
                url = fresh_copy(base)
                best[name] = min(best[name], way(url))
    memory_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    report(best, deleted_rows(base), memory_mib)


def in_database(base: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return base.replace("/postgres?", f"/{quote(name)}?")


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


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement))


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
    manage(url, "prune_history", "--older-than=1900-01-01", "--yes")
    start_s = time.perf_counter() - started_at
    started_at = time.perf_counter()
    manage(url, "prune_history", "--older-than=2026-03-01", "--yes", *arguments)
    return time.perf_counter() - started_at - start_s


def manage(url: str, *arguments: str) -> None:
    environment = {"SECRET_KEY": "only-for-benchmarks", **os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=PROJECT, env=environment, check=True)


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


def report(best: dict[str, float], deleted: tuple[int, int], memory_mib: float) -> None:
    print(f"deleted: {deleted[0]:,} conversations, {deleted[1]:,} messages")
    reference = best["plain SQL, two DELETEs"]
    for name, seconds in best.items():
        print(f"{name:32} {seconds:7.2f} s  {seconds / reference:5.2f} x  {deleted[1] / seconds:10,.0f} messages/s")
    print(f"most memory of any command: {memory_mib:.0f} MiB")


if __name__ == "__main__":
    main()
