"""The schema's history: complete, reversible, and able to take over the predecessor's database."""

import io
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from tests.support.database import migrated_database, run_command

pytestmark = pytest.mark.slow

TABLES = {"conversations", "messages", "assistants", "chat_users"}
SHAPE = """
SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
FROM information_schema.columns WHERE table_name = ANY(%s) ORDER BY 1, 2
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) ORDER BY 1"


@pytest.fixture
def database() -> Iterator[psycopg.Connection[Any]]:
    """A migrated database of its own, with which other tests have nothing to do."""
    with migrated_database() as url, psycopg.connect(url, autocommit=True) as opened:
        yield opened


def run_migrate(database: psycopg.Connection[Any], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `manage.py migrate` on that database."""
    info = database.info
    url = f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"
    return run_command(url, "migrate", "--verbosity=0", *arguments)


def migrate(database: psycopg.Connection[Any], *arguments: str) -> None:
    result = run_migrate(database, *arguments)
    assert result.returncode == 0, result.stderr


def tables(database: psycopg.Connection[Any]) -> set[str]:
    rows = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {name for (name,) in rows} & TABLES


def shape(database: psycopg.Connection[Any]) -> tuple[list[Any], list[Any]]:
    names = sorted(TABLES)
    return database.execute(SHAPE, [names]).fetchall(), database.execute(INDEXES, [names]).fetchall()


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    out = io.StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=out)
    assert "No changes" in out.getvalue()


def test_the_history_is_never_dropped(database: psycopg.Connection[Any]) -> None:
    before = shape(database)
    refused = run_migrate(database, "conversations", "zero")
    assert refused.returncode == 1
    assert refused.stderr.startswith("MigrationRefused: Migration 0001 can't be reversed")
    assert shape(database) == before


def test_one_step_back_and_forth_keeps_the_rows(database: psycopg.Connection[Any]) -> None:
    before = shape(database)
    database.execute("INSERT INTO conversations (user_id, title) VALUES (gen_random_uuid(), 'kept')")
    migrate(database, "conversations", "0001")
    assert tables(database) == {"conversations", "messages"}
    migrate(database)
    assert shape(database) == before
    assert database.execute("SELECT title FROM conversations").fetchall() == [("kept",)]


def test_usage_so_far_is_counted(database: psycopg.Connection[Any]) -> None:
    migrate(database, "conversations", "0010")
    database.execute("INSERT INTO conversations (user_id) VALUES (gen_random_uuid())")
    database.execute(
        "INSERT INTO messages (conversation_id, role, content, token_count)"
        " SELECT id, 'assistant', 'x', 40 FROM conversations, generate_series(1, 3)"
    )
    for _ in range(2):
        migrate(database, "conversations", "0012")
        assert database.execute("SELECT sum(replies), sum(tokens) FROM usage_totals").fetchone() == (3, 120)
        # As after a run that broke off before it was noted as done.
        database.execute("DELETE FROM django_migrations WHERE app = 'conversations' AND name = '0012_count_usage'")


OLDER_SEARCH = """
EXPLAIN SELECT id FROM messages WHERE to_tsvector('simple'::regconfig, left(content, 100000))
    @@ websearch_to_tsquery('simple'::regconfig, 'kettle') AND status <> 'streaming'
"""
SEARCH = (
    "SELECT count(*) FROM messages WHERE search_words(search_text(content)) @@ $$'茶':*$$::tsquery AND status <> 'streaming'"
)


def test_both_forms_of_search_work_while_the_indexes_are_built_and_after(database: psycopg.Connection[Any]) -> None:
    """A build that broke off is repeated, and nodes of the version before keep the index that they search with."""
    migrate(database, "conversations", "0034")
    database.execute("INSERT INTO conversations (user_id, title) VALUES (gen_random_uuid(), '绿茶')")
    insert = "INSERT INTO messages (conversation_id, role, content) SELECT id, 'user', 'a kettle of 绿茶' FROM conversations"
    database.execute(insert)
    database.execute("SET enable_seqscan = off")
    for _ in range(2):
        migrate(database, "conversations", "0035")
        database.execute(insert)
        assert "idx_messages_search" in str(database.execute(OLDER_SEARCH).fetchall())
        assert "idx_messages_words" in str(database.execute(f"EXPLAIN {SEARCH}").fetchall())
        # As after a run that broke off in the middle of a build, before it was noted as done.
        database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_messages_words'::regclass")
        database.execute("DELETE FROM django_migrations WHERE app = 'conversations' AND name = '0035_search_words'")
    migrate(database)
    assert database.execute(SEARCH).fetchall() == [(3,)]
    assert database.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall() == []


OLDER_INDEXES = """
SELECT count(*) FROM pg_class WHERE relname IN ('idx_messages_search', 'idx_conversations_title_words')
"""


@pytest.mark.parametrize("is_used", [False, True])
def test_the_older_indexes_of_search_stay_where_older_nodes_may_be(database: psycopg.Connection[Any], is_used: bool) -> None:
    migrate(database, "conversations", "0035")
    if is_used:
        database.execute("INSERT INTO conversations (user_id, title) VALUES (gen_random_uuid(), 'tea')")
        database.execute("INSERT INTO messages (conversation_id, role, content) SELECT id, 'user', 'tea' FROM conversations")
    for _ in range(2):
        migrate(database)
        assert database.execute(OLDER_INDEXES).fetchone() == (2 if is_used else 0,)
        migrate(database, "conversations", "0035")
        assert database.execute(OLDER_INDEXES).fetchone() == (2,)
        assert database.execute("SELECT count(*) FROM pg_statistic_ext WHERE stxname LIKE 'st_%'").fetchone() == (3,)


def test_every_check_was_validated(database: psycopg.Connection[Any]) -> None:
    rows = database.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated").fetchall()
    assert rows == []
    assert database.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall() == []


@pytest.mark.django_db
def test_the_database_is_recent_enough() -> None:
    assert connection.cursor().connection.info.server_version >= 140000
