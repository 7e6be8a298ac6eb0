"""Migrating while others use the tables, and after a migration broke off."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from tests.adopting import predecessor
from tests.adopting.predecessor import ORDINARY, USER
from tests.support.database import manage, start_command
from tests.support.pgbouncer import PROGRAM, pgbouncer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
INDEXES = """
SELECT relname, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid IN (SELECT to_regclass(name) FROM unnest(ARRAY['messages', 'conversations', 'chat_users']) AS tables (name))
ORDER BY relname
"""
OF_0006 = ["idx_messages_day", "idx_conversations_model", "idx_messages_feedback", "idx_messages_troubled"]


def indexes(url: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(INDEXES).fetchall()


@contextmanager
def predecessors_traffic(url: str, writers: int = 4) -> Iterator[list[Exception]]:
    """Insert messages as the predecessor does, 100 a second in all, for as long as the block runs; give what went wrong."""
    may_end = threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not may_end.wait(writers / 100):
                try:
                    predecessor.say(connection, ORDINARY)
                    connection.execute(
                        "SELECT id FROM conversations WHERE user_id = %s ORDER BY updated_at DESC LIMIT 50", (USER,)
                    ).fetchall()
                except psycopg.Error as failure:
                    failures.append(failure)

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        may_end.set()
        for thread in threads:
            thread.join()


def test_the_predecessor_writes_all_the_while(old_database: str) -> None:
    with predecessors_traffic(old_database) as failures:
        manage(old_database, "migrate", "--fake-initial", "--verbosity=0")
        manage(old_database, "migrate", "conversations", "0001", "--verbosity=0")
    assert failures == []


@pytest.mark.parametrize("target", ["forth", "back"])
def test_an_insert_that_has_begun_is_no_deadlock(old_database: str, target: str) -> None:
    """An insert locks `messages`, then `conversations`; here the migration comes in between."""
    if target == "forth":
        arguments = ("migrate", "--fake-initial", "--verbosity=0")
    else:
        manage(old_database, "migrate", "--fake-initial", "--verbosity=0")
        manage(old_database, "migrate", "conversations", "0002", "--verbosity=0")
        arguments = ("migrate", "conversations", "0001", "--verbosity=0")
    with psycopg.connect(old_database) as writer, psycopg.connect(old_database, autocommit=True) as watcher:
        writer.execute("LOCK TABLE messages IN ROW EXCLUSIVE MODE")
        migration = start_command(old_database, *arguments)
        wait_until(lambda: watcher.execute(WAITING, [watcher.info.dbname]).fetchone() == (1,), "the migration waits for a lock")
        predecessor.say(writer, ORDINARY)
        writer.commit()
    _, said = migration.communicate()
    assert migration.returncode == 0, said


def test_a_long_reader_holds_up_the_migration_and_no_other_reader(old_database: str) -> None:
    with (
        psycopg.connect(old_database) as reader,
        psycopg.connect(old_database, autocommit=True) as watcher,
        psycopg.connect(old_database, autocommit=True) as bystander,
    ):
        reader.execute("SELECT count(*) FROM messages").fetchall()
        migration = start_command(old_database, "migrate", "--fake-initial", "--verbosity=0")
        bystander.execute("SET lock_timeout = '1s'")
        for _ in range(3):
            wait_until(lambda: watcher.execute(WAITING, [watcher.info.dbname]).fetchone() == (1,), "the migration waits")
            bystander.execute("SELECT count(*) FROM messages").fetchall()
            bystander.execute("SELECT count(*) FROM conversations").fetchall()
        assert migration.poll() is None
        reader.rollback()
    _, said = migration.communicate()
    assert migration.returncode == 0, said


def test_a_broken_off_build_is_run_again(old_database: str) -> None:
    """Two indexes are there, a third is invalid, a fourth has its name and nothing else, the rest are missing."""
    manage(old_database, "migrate", "--fake-initial", "--verbosity=0")
    wanted = indexes(old_database)
    definitions = {name: definition for name, _, definition in wanted}
    manage(old_database, "migrate", "conversations", "0005", "--verbosity=0")
    with psycopg.connect(old_database, autocommit=True) as connection:
        for name in OF_0006[:3]:
            connection.execute(definitions[name])
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (OF_0006[2],))
        connection.execute(f"CREATE INDEX {OF_0006[3]} ON messages (model_tag)")
        identity = "SELECT relname, oid FROM pg_class WHERE relname = ANY(%s) ORDER BY 1"
        before = connection.execute(identity, (OF_0006[:2],)).fetchall()
        manage(old_database, "migrate", "--verbosity=0")
        assert connection.execute(identity, (OF_0006[:2],)).fetchall() == before
    assert indexes(old_database) == wanted


def test_a_migration_that_is_killed_while_it_builds_is_run_again(old_database: str) -> None:
    with psycopg.connect(old_database) as writer, psycopg.connect(old_database, autocommit=True) as watcher:
        manage(old_database, "migrate", "conversations", "0002", "--fake-initial", "--verbosity=0")
        # A build waits for every transaction that writes to its table.
        predecessor.say(writer, ORDINARY)
        migration = start_command(old_database, "migrate", "--verbosity=0")
        building = "SELECT pid FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
        pid = wait_until(lambda: watcher.execute(building).fetchone(), "an index waits for the writer")
        migration.kill()
        migration.communicate()
        watcher.execute("SELECT pg_terminate_backend(%s, 10000)", pid)
        writer.commit()
        assert [name for name, is_valid, _ in indexes(old_database) if not is_valid] == ["uq_messages_running"]
    manage(old_database, "migrate", "--verbosity=0")
    assert [name for name, is_valid, _ in indexes(old_database) if not is_valid] == []


@pytest.mark.parametrize("is_pooled", [False, pytest.param(True, marks=pytest.mark.skipif(not PROGRAM, reason="no pgbouncer"))])
def test_of_several_runs_at_once_one_migrates_and_the_others_wait(old_database: str, is_pooled: bool) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(pgbouncer(old_database)) if is_pooled else old_database
        runs = [start_command(url, "migrate", "--fake-initial", "--verbosity=0") for _ in range(3)]
        said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    with psycopg.connect(old_database) as connection:
        applied = connection.execute("SELECT app, name FROM django_migrations").fetchall()
    assert len(applied) == len(set(applied))
