"""The schema's history: complete, reversible, and able to take over the predecessor's database."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from tests.support.database import REPOSITORY, migrated_database

TABLES = {"conversations", "messages", "assistants", "chat_users"}
PREDECESSOR = """
CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email varchar(255) UNIQUE NOT NULL);
CREATE TABLE conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT conversations_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    title varchar(500), model_tag varchar(100) DEFAULT 'default',
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(),
    is_favorited boolean NOT NULL DEFAULT false);
CREATE INDEX idx_conversations_user ON conversations (user_id, updated_at DESC);
CREATE TABLE messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL CONSTRAINT messages_conversation_id_fkey REFERENCES conversations (id) ON DELETE CASCADE,
    role varchar(20) NOT NULL CONSTRAINT ck_messages_role CHECK (role IN ('user', 'assistant', 'system')),
    content text NOT NULL, token_count int, model_tag varchar(100), inference_time_ms int,
    created_at timestamptz DEFAULT now());
CREATE INDEX idx_messages_conversation ON messages (conversation_id, created_at);
"""
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


def migrate(database: psycopg.Connection[Any], *arguments: str) -> None:
    """Run `manage.py migrate` on that database."""
    info = database.info
    url = f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0", *arguments]
    environment = {**os.environ, "DATABASE_URL": url}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
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


def test_to_zero_and_back(database: psycopg.Connection[Any]) -> None:
    before = shape(database)
    assert tables(database) == TABLES
    migrate(database, "conversations", "zero")
    assert tables(database) == set()
    migrate(database)
    assert shape(database) == before


def test_one_step_back_and_forth_keeps_the_rows(database: psycopg.Connection[Any]) -> None:
    before = shape(database)
    database.execute("INSERT INTO conversations (user_id, title) VALUES (gen_random_uuid(), 'kept')")
    migrate(database, "conversations", "0001")
    assert tables(database) == {"conversations", "messages"}
    migrate(database)
    assert shape(database) == before
    assert database.execute("SELECT title FROM conversations").fetchall() == [("kept",)]


def test_the_predecessor_s_database_is_taken_over(database: psycopg.Connection[Any]) -> None:
    wanted = shape(database)
    migrate(database, "conversations", "zero")
    database.execute(PREDECESSOR)
    database.execute("INSERT INTO users (email) VALUES ('mira@example.test')")
    database.execute("INSERT INTO conversations (user_id, title) SELECT id, 'old' FROM users")
    database.execute("INSERT INTO messages (conversation_id, role, content) SELECT id, 'user', 'hi' FROM conversations")
    migrate(database, "--fake-initial")
    columns, indexes = shape(database)
    assert columns == wanted[0]
    assert {name for name, _ in indexes} == {name for name, _ in wanted[1]}
    rows = database.execute("SELECT c.title, m.content, m.status, m.is_active FROM messages m JOIN conversations c ON true")
    assert rows.fetchall() == [("old", "hi", "complete", True)]
    [(rule,)] = database.execute(
        "SELECT confdeltype FROM pg_constraint WHERE conname = 'messages_conversation_id_fkey'"
    ).fetchall()
    assert rule in ("c", b"c")


def test_every_check_was_validated(database: psycopg.Connection[Any]) -> None:
    rows = database.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated").fetchall()
    assert rows == []
    assert database.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall() == []


@pytest.mark.django_db
def test_the_database_is_recent_enough() -> None:
    assert connection.cursor().connection.info.server_version >= 140000
