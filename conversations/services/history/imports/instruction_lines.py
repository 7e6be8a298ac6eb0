"""Users' own instructions in files of history: lines before the conversations, one for each user who has some."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from django.db import connection

from conversations.models.users import MAX_INSTRUCTIONS_CHARACTERS
from conversations.services.history.imports.import_admission import Row, json_array
from inference_proxy.replies.streams import escape_line_ends

COLUMNS = frozenset({"user_id", "text", "is_active", "updated_at"})
LINES_AT_ONCE = 1_000

LINES_SQL = f"""
SELECT user_id, json_build_object('instructions', row_to_json(row))::text
FROM (SELECT {", ".join(sorted(COLUMNS))} FROM user_instructions) AS row
WHERE (%(after)s::uuid IS NULL OR user_id > %(after)s) AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
ORDER BY user_id LIMIT %(most)s
"""  # noqa: S608  # only constants go into it
GIVEN_SQL = """
FROM json_array_elements(%(lines)s::json) AS line
CROSS JOIN json_populate_record(NULL::user_instructions, line -> 'instructions') AS given
"""
RESTORE_SQL = f"""
INSERT INTO user_instructions (user_id, text, is_active, updated_at)
SELECT given.user_id, left(given.text, {MAX_INSTRUCTIONS_CHARACTERS}), coalesce(given.is_active, true),
       coalesce(given.updated_at, now()) {GIVEN_SQL} ON CONFLICT DO NOTHING
"""
PRESENT_SQL = f"""
SELECT count(*) {GIVEN_SQL} WHERE EXISTS (SELECT FROM user_instructions AS known WHERE known.user_id = given.user_id)
"""  # noqa: S608


def instruction_lines(user_id: UUID | None) -> Iterator[bytes]:
    """Yield the lines of a user, or of all, with their line ends. A query for each LINES_AT_ONCE."""
    after: UUID | None = None
    while True:
        with connection.cursor() as cursor:
            cursor.execute(LINES_SQL, {"after": after, "user_id": user_id, "most": LINES_AT_ONCE})
            rows = cursor.fetchall()
        for _, line in rows:
            yield escape_line_ends(line.encode()) + b"\n"
        if len(rows) < LINES_AT_ONCE:
            return
        after = rows[-1][0]


def restore_instructions(rows: Sequence[Row]) -> int:
    """Store the instructions of users who have none. Return how many those are."""
    return _run(RESTORE_SQL, rows)


def count_new_instructions(rows: Sequence[Row]) -> int:
    """Return how many `restore_instructions` would store. Changes nothing."""
    return len(rows) - _run(PRESENT_SQL, rows)


def _run(statement: str, rows: Sequence[Row]) -> int:
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(statement, {"lines": json_array([row.line for row in rows])})
        return int(cursor.fetchone()[0]) if statement is PRESENT_SQL else int(cursor.rowcount)
