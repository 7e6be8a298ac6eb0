"""Which lines of a file an import may restore.

Principle: a file is not trusted to say whose a conversation is. A message is restored only if the file also has the line of its
conversation, before or in the same batch, and that line names the same owner as the row in the database. Otherwise a changed
file could add messages to another user's conversation. Conversations of erased users stay away, unless they are asked for.
An import of one user does not look at the rows of others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from conversations.services.history.files.json_lines import CONVERSATION, INSTRUCTIONS, MESSAGE
from conversations.services.history.tombstones import erased_among

SAME_OWNER_SQL = """
SELECT known.id
FROM json_array_elements(%(lines)s::json) AS line
CROSS JOIN json_populate_record(NULL::conversations, line -> 'conversation') AS given
JOIN conversations AS known ON known.id = given.id AND known.user_id IS NOT DISTINCT FROM given.user_id
"""


class Row(NamedTuple):
    """One line and what decides about it. A message has no `user_id`."""

    kind: str
    columns: tuple[str, ...]
    conversation_id: UUID | None
    user_id: UUID | None
    line: bytes


def read_row(kind: str, values: dict[str, Any], line: bytes) -> Row:
    """Raises `ValueError` if an id is not a UUID."""
    conversation_id = values.get("id" if kind == CONVERSATION else "conversation_id")
    user_id = None if kind == MESSAGE else values.get("user_id")
    return Row(kind, tuple(values), _uuid(conversation_id), _uuid(user_id), line)


@dataclass(slots=True)
class Admission:
    """What one import has learnt from the lines so far. It keeps about 100 bytes per conversation."""

    includes_erased: bool = False
    only_user: UUID | None = None
    erased_users: set[UUID] = field(default_factory=set)
    _trusted: set[bytes] = field(default_factory=set)
    # The conversations of `only_user` in the file.
    _chosen: set[bytes] = field(default_factory=set)

    def of_user(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows of the user that is imported."""
        if self.only_user is None:
            return rows
        for row in rows:
            if row.kind == CONVERSATION and row.conversation_id and row.user_id == self.only_user:
                self._chosen.add(row.conversation_id.bytes)
        return [
            row
            for row in rows
            if (row.conversation_id and row.conversation_id.bytes in self._chosen)
            or (row.kind == INSTRUCTIONS and row.user_id == self.only_user)
        ]

    def conversations(self, rows: Sequence[Row]) -> list[Row]:
        """Return the conversations of a batch that may be restored."""
        return self._of_living(CONVERSATION, rows)

    def instructions(self, rows: Sequence[Row]) -> list[Row]:
        """Return the users' instructions of a batch that may be restored."""
        return self._of_living(INSTRUCTIONS, rows)

    def _of_living(self, kind: str, rows: Sequence[Row]) -> list[Row]:
        found = [row for row in rows if row.kind == kind]
        if self.includes_erased:
            return found
        self.erased_users |= erased_among({row.user_id for row in found if row.user_id})
        return [row for row in found if row.user_id not in self.erased_users]

    def trust(self, conversations: Sequence[Row]) -> None:
        """Trust these lines, now restored, as far as the database has the same owner."""
        if not conversations:
            return
        with connection.cursor() as cursor:
            cursor.execute(SAME_OWNER_SQL, {"lines": json_array([row.line for row in conversations])})
            self._trusted.update(found.bytes for (found,) in cursor.fetchall())

    def trust_new(self, conversation_ids: Iterable[UUID]) -> int:
        """Trust conversations that a dry run would restore. Return how many of them are new to this run."""
        before = len(self._trusted)
        self._trusted.update(conversation_id.bytes for conversation_id in conversation_ids)
        return len(self._trusted) - before

    def messages(self, rows: Sequence[Row]) -> list[Row]:
        """Return the messages of a batch that may be restored."""
        return [
            row for row in rows if row.kind == MESSAGE and row.conversation_id and row.conversation_id.bytes in self._trusted
        ]


def json_array(lines: Sequence[bytes]) -> str:
    # One text, because psycopg takes as long to write an array of JSON as PostgreSQL takes to insert it.
    return f"[{b','.join(lines).decode()}]"


def _uuid(value: Any) -> UUID | None:
    return None if value is None else UUID(str(value))
