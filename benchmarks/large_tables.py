"""Databases for `growth`: one user with many conversations among millions of others' messages, and one user alone.

Everything is made by PostgreSQL itself, without indexes, which are built afterwards: ten million messages take minutes. A
database that is there already, of the same size, is used again.
"""

import hashlib
import sys
import time
import uuid
from dataclasses import dataclass

import psycopg
from psycopg import sql

from benchmarks.databases import execute, in_database, new_database
from tests.support.database import manage

USER = uuid.UUID("00000000-0000-4000-8000-00000000beef")
TURNS = 5
# In one phrase of ten, in one of a hundred, and in one of two hundred.
FREQUENT, RARE, UNSPACED = "kettle", "samovar", "你好世界今天天气很好"
PHRASES = 20_000
WORDS = 3_000
OTHERS_CONVERSATIONS = 30

# What everything is made of: phrases of words of which a few are frequent and most are rare, as in prose.
PHRASES_SQL = f"""
CREATE TEMPORARY TABLE phrases AS
SELECT number, string_agg(substr(md5(((random() ^ 3) * {WORDS})::int::text), 1, 3 + (random() * 6)::int), ' ')
    || CASE WHEN number % 10 = 0 THEN ' {FREQUENT}' ELSE '' END || CASE WHEN number % 100 = 1 THEN ' {RARE}' ELSE '' END
    || CASE WHEN number % 200 = 2 THEN ' {UNSPACED}' ELSE '' END AS words
FROM generate_series(0, {PHRASES} - 1) AS number, generate_series(1, 12) GROUP BY number
"""
CONVERSATIONS_SQL = """
INSERT INTO conversations (id, user_id, title, model_tag, created_at, updated_at, title_source)
SELECT uuidv7(at - now()), owner, left(words, 60), 'default', at, at, 'user'
FROM (
    SELECT now() - random() * interval '365 days' AS at, (random() * ({phrases} - 1))::int AS phrase,
           CASE WHEN number <= {of_user} THEN {user} ELSE md5((number / {of_others})::text)::uuid END AS owner
    FROM generate_series(1, {conversations}) AS number
) AS made JOIN phrases ON phrases.number = phrase ORDER BY at
"""
MESSAGES_SQL = """
INSERT INTO messages (id, parent_id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at)
SELECT pair.id, parent, conversation, role, words, tokens, 'default', milliseconds, pair.at
FROM (
    SELECT conversations.id AS conversation, uuidv7(at - now()) AS question, uuidv7(at - now() + interval '1 second') AS answer,
           at, (random() * ({phrases} - 1))::int AS asked, (random() * ({phrases} - 1))::int AS answered
    FROM conversations, generate_series(1, {turns}) AS turn,
         LATERAL (SELECT updated_at - ({turns} - turn) * interval '1 minute' AS at) AS moment
    ORDER BY updated_at
) AS turns,
LATERAL (VALUES (question, NULL::uuid, 'user', asked, NULL::int, NULL::int, at),
                (answer, question, 'assistant', answered, 15, 400, at + interval '1 second'))
    AS pair (id, parent, role, phrase, tokens, milliseconds, at)
JOIN phrases ON phrases.number = phrase
"""
USAGE_SQL = """
INSERT INTO usage_totals (user_id, bucket, messages, replies, tokens, prompt_tokens, inference_time_ms)
SELECT user_id, date_bin('15 minutes', messages.created_at, 'epoch'), count(*) FILTER (WHERE role = 'user'),
       count(*) FILTER (WHERE role = 'assistant'), coalesce(sum(token_count), 0), 0,
       coalesce(sum(inference_time_ms), 0)
FROM messages JOIN conversations ON conversations.id = conversation_id GROUP BY 1, 2
"""
SECONDARY_INDEXES_SQL = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid IN ('conversations'::regclass, 'messages'::regclass)
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is in a database: the user's conversations, and everyone's, each of ten messages."""

    of_user: int
    conversations: int

    @property
    def messages(self) -> int:
        return self.conversations * TURNS * 2


def database(base: str, name: str, size: Size) -> str:
    """Return the URL of a database of this size: of an earlier run, with all migrations since, or a new one."""
    mark = f"{size} {hashlib.sha256((PHRASES_SQL + CONVERSATIONS_SQL + MESSAGES_SQL).encode()).hexdigest()[:12]}"
    with psycopg.connect(base) as connection:
        found = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
    if found and found[0] == mark:
        url = in_database(base, name)
        manage(url, "migrate", "--verbosity=0")
        return url
    url = new_database(base, name)
    fill(url, size)
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), mark))
    return url


def fill(url: str, size: Size) -> None:
    started_at = time.monotonic()
    values = {
        "user": sql.Literal(USER),
        "of_user": sql.Literal(size.of_user),
        "of_others": sql.Literal(OTHERS_CONVERSATIONS),
        "conversations": sql.Literal(size.conversations),
        "turns": sql.Literal(TURNS),
        "phrases": sql.Literal(PHRASES),
    }
    with psycopg.connect(url) as connection:
        # Not checking a foreign key for each row is most of what makes this fast.
        for setting in ("session_replication_role = replica", "maintenance_work_mem = '512MB'", "work_mem = '256MB'"):
            connection.execute(sql.SQL(f"SET {setting}"))
        connection.execute("SELECT setseed(0.5)")
        indexes = connection.execute(SECONDARY_INDEXES_SQL).fetchall()
        for name, _ in indexes:
            connection.execute(sql.SQL(f"DROP INDEX {name}"))
        for statement in (PHRASES_SQL, CONVERSATIONS_SQL, MESSAGES_SQL, USAGE_SQL):
            connection.execute(sql.SQL(statement).format(**values))
        for _, definition in indexes:
            connection.execute(sql.SQL(definition))
    execute(url, "VACUUM (ANALYZE, FREEZE)", "CHECKPOINT")
    print(f"made {size.messages:,} messages in {time.monotonic() - started_at:.0f} s", file=sys.stderr)
