"""The predecessor's database: its schema, rows of every awkward kind, and the statements that it runs."""

import uuid
from datetime import UTC, datetime

import psycopg

SCHEMA = """
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email varchar(255) NOT NULL UNIQUE,
    name varchar(255),
    avatar_url text,
    provider varchar(50) NOT NULL,
    provider_id varchar(255) NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    last_login_at timestamptz,
    CONSTRAINT uq_users_provider UNIQUE (provider, provider_id)
);
CREATE TABLE conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    title varchar(500),
    model_tag varchar(100) DEFAULT 'default',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    is_favorited boolean NOT NULL DEFAULT false,
    CONSTRAINT conversations_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX idx_conversations_user ON conversations (user_id, updated_at DESC);
CREATE TABLE messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL,
    role varchar(20) NOT NULL,
    content text NOT NULL,
    token_count integer,
    model_tag varchar(100),
    inference_time_ms integer,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT ck_messages_role CHECK (role IN ('user', 'assistant', 'system')),
    CONSTRAINT messages_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
);
CREATE INDEX idx_messages_conversation ON messages (conversation_id, created_at);
"""

# Its ORM gives every column a value, also those with a default in the database.
INSERT_MESSAGE = """
INSERT INTO messages (id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""

USER = uuid.UUID("0a000000-0000-4000-8000-000000000001")
OTHER_USER = uuid.UUID("0a000000-0000-4000-8000-000000000002")
ORDINARY = uuid.UUID("0c000000-0000-4000-8000-000000000001")
NULLS = uuid.UUID("0c000000-0000-4000-8000-000000000002")
EQUAL_TIMES = uuid.UUID("0c000000-0000-4000-8000-000000000003")
EMPTY = uuid.UUID("0c000000-0000-4000-8000-000000000004")
OLD = uuid.UUID("0c000000-0000-4000-8000-000000000005")
ALIEN = uuid.UUID("0c000000-0000-4000-8000-000000000006")
# Begun long ago and still in use: the predecessor notes renames in `updated_at`, but no messages.
STALE = uuid.UUID("0c000000-0000-4000-8000-000000000007")

ROWS = f"""
INSERT INTO users (id, email, name, provider, provider_id) VALUES
    ('{USER}', 'mira@example.com', 'Mira', 'google', '1'), ('{OTHER_USER}', 'ada@example.com', NULL, 'github', '1');
INSERT INTO conversations (id, user_id, title, model_tag, created_at, updated_at, is_favorited) VALUES
    ('{ORDINARY}', '{USER}', 'Bread', 'd20', '2026-01-01Z', '2026-01-02Z', true),
    ('{NULLS}', '{USER}', NULL, NULL, NULL, NULL, false),
    ('{EQUAL_TIMES}', '{USER}', 'New Chat', 'default', '2026-01-03Z', '2026-01-03Z', false),
    ('{EMPTY}', '{USER}', '', 'default', '2026-01-03Z', '2026-01-03Z', false),
    ('{OLD}', '{USER}', 'Long ago', 'default', '2020-01-01Z', '2020-01-01Z', false),
    ('{ALIEN}', '{OTHER_USER}', 'Not Mira''s', 'default', '2026-01-01Z', '2026-01-01Z', false),
    ('{STALE}', '{USER}', 'Diary', 'default', '2020-01-01Z', '2020-01-01Z', false);
INSERT INTO messages (conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at) VALUES
    ('{ORDINARY}', 'system', 'Be brief.', NULL, NULL, NULL, '2026-01-01Z'),
    ('{ORDINARY}', 'user', 'How do I bake?', NULL, NULL, NULL, '2026-01-01 00:00:01Z'),
    ('{ORDINARY}', 'assistant', 'With heat.', 3, 'd20', 40, '2026-01-01 00:00:02Z'),
    ('{NULLS}', 'user', 'When?', NULL, NULL, NULL, NULL),
    ('{NULLS}', 'assistant', '', NULL, NULL, NULL, NULL),
    ('{EQUAL_TIMES}', 'user', 'one', NULL, NULL, NULL, '2026-01-03Z'),
    ('{EQUAL_TIMES}', 'assistant', 'two', NULL, NULL, NULL, '2026-01-03Z'),
    ('{EQUAL_TIMES}', 'user', 'three', NULL, NULL, NULL, '2026-01-03Z'),
    ('{OLD}', 'user', 'Anybody?', NULL, NULL, NULL, '2020-01-01Z'),
    ('{ALIEN}', 'user', 'private', NULL, NULL, NULL, '2026-01-01Z'),
    ('{STALE}', 'user', 'Dear diary', NULL, NULL, NULL, '2026-01-05Z');
"""
# Its own columns, in its own order.
SNAPSHOT = {
    "users": "SELECT row::text FROM users AS row ORDER BY id",
    "conversations": """SELECT id, user_id, title, model_tag, created_at, updated_at, is_favorited
        FROM conversations ORDER BY id""",
    "messages": """SELECT id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at
        FROM messages ORDER BY id""",
}


def snapshot(connection: "psycopg.Connection") -> dict[str, list[tuple]]:
    """Read everything that the predecessor knows of."""
    return {table: connection.execute(statement).fetchall() for table, statement in SNAPSHOT.items()}


def say(connection: "psycopg.Connection", conversation_id: uuid.UUID) -> None:
    """Save a message with the predecessor's own statement."""
    connection.execute(
        INSERT_MESSAGE, (uuid.uuid4(), conversation_id, "user", "live", None, "default", None, datetime.now(UTC))
    )


def history(connection: "psycopg.Connection", conversation_id: uuid.UUID) -> list[tuple[str, str]]:
    """Read what it sends to its inference service, oldest first."""
    newest_first = connection.execute(
        "SELECT id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at FROM messages "
        "WHERE conversation_id = %s ORDER BY created_at DESC, id DESC LIMIT 50",
        (conversation_id,),
    ).fetchall()
    return [(role, content) for _, _, role, content, *_ in newest_first[::-1]]


def answer(connection: "psycopg.Connection", conversation_id: uuid.UUID, content: str) -> uuid.UUID:
    """Save the answer to a message that was sent, or to one that is regenerated."""
    answer_id = uuid.uuid4()
    values = (answer_id, conversation_id, "assistant", content, 3, "default", 40, datetime.now(UTC))
    connection.execute(INSERT_MESSAGE, values)
    return answer_id


def delete_last_answer(connection: "psycopg.Connection", conversation_id: uuid.UUID) -> None:
    """Begin to regenerate."""
    (answer_id,) = connection.execute(
        "SELECT id FROM messages WHERE conversation_id = %s AND role = 'assistant' ORDER BY created_at DESC, id DESC LIMIT 1",
        (conversation_id,),
    ).fetchone()
    connection.execute("DELETE FROM messages WHERE messages.id = %s", (answer_id,))


def use(connection: "psycopg.Connection") -> None:
    """Have a turn in a new conversation, and tidy up, with the predecessor's own statements."""
    conversation = connection.execute(
        "INSERT INTO conversations (id, user_id, title, model_tag, is_favorited) VALUES (%s, %s, %s, %s, false) "
        "RETURNING created_at, updated_at, id",
        (uuid.uuid4(), USER, "By the predecessor", "default"),
    ).fetchone()
    assert conversation and conversation[0] is not None and conversation[1] is not None
    for role, content, tokens in (("user", "ping", None), ("assistant", "pong", 1)):
        connection.execute(
            INSERT_MESSAGE, (uuid.uuid4(), conversation[2], role, content, tokens, "default", tokens, datetime.now(UTC))
        )
    changed = connection.execute(
        "UPDATE conversations SET title = %s, is_favorited = true, updated_at = now() WHERE id = %s AND user_id = %s",
        ("Renamed", conversation[2], USER),
    )
    assert changed.rowcount == 1
    listed = connection.execute(
        "SELECT id, title FROM conversations WHERE user_id = %s ORDER BY updated_at DESC LIMIT 50 OFFSET 0", (USER,)
    ).fetchall()
    assert (conversation[2], "Renamed") in listed
    history = connection.execute(
        "SELECT role, content FROM messages WHERE conversation_id = %s ORDER BY created_at, role DESC", (conversation[2],)
    ).fetchall()
    assert history == [("user", "ping"), ("assistant", "pong")]
    assert connection.execute("DELETE FROM conversations WHERE id = %s", (conversation[2],)).rowcount == 1
    left = connection.execute("SELECT count(*) FROM messages WHERE conversation_id = %s", (conversation[2],)).fetchone()
    assert left == (0,)
