"""The tables that have rows about a user, and what becomes of these rows when the user is erased, moved or exported.

A test compares this list with the database, so a new table with users' ids needs a line here. Rows that name a conversation
and no user (`messages`, `queued_messages`) share the fate of the conversation.
"""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from django.db import connection


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTable:
    name: str
    user_column: str = "user_id"
    # The field of receipts with the number of its rows.
    counted_as: str | None = None
    # `batches`: `erase_user` has code of its own for it. `with conversations`: deleted by a foreign key.
    when_erased: Literal["deleted", "batches", "with conversations", "kept"] = "deleted"
    # `statement`: `move_history` has code of its own for it. `one row`: moved, if the new owner has none, else deleted.
    when_moved: Literal["statement", "one row", "stays"] = "stays"
    # Whether an export of everything about the user contains its rows.
    is_exported: bool = False

    def count(self, user_id: UUID) -> int:
        """Return how many rows the user has."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {self.name} WHERE {self.user_column} = %s", [user_id])  # noqa: S608
            (count,) = cursor.fetchone()
        return int(count)

    def has(self, user_id: UUID) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {self.name} WHERE {self.user_column} = %s)", [user_id])  # noqa: S608
            (found,) = cursor.fetchone()
        return bool(found)

    def delete(self, user_id: UUID) -> int:
        """Delete the user's rows in one statement. Return how many there were."""
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {self.name} WHERE {self.user_column} = %s", [user_id])  # noqa: S608
            return int(cursor.rowcount)

    def give(self, from_user: UUID, to_user: UUID) -> int:
        """Make the rows another user's. Return how many there were."""
        with connection.cursor() as cursor:
            statement = f"UPDATE {self.name} SET {self.user_column} = %s WHERE {self.user_column} = %s"  # noqa: S608
            cursor.execute(statement, [to_user, from_user])
            return int(cursor.rowcount)


# In the order in which they are erased. The entry in the directory is last: it has the address that is blanked elsewhere.
USER_TABLES = (
    UserTable(
        name="conversations", counted_as="conversations", when_erased="batches", when_moved="statement", is_exported=True
    ),
    UserTable(name="creation_keys", when_erased="with conversations", when_moved="statement"),
    # What `/api/changes` tells. Cursors of the user expire with them.
    UserTable(name="conversation_changes", counted_as="changes"),
    UserTable(name="usage_totals", counted_as="usage_totals", when_moved="statement", is_exported=True),
    UserTable(name="refused_requests", is_exported=True),
    UserTable(name="user_quotas", counted_as="quotas", when_moved="one row", is_exported=True),
    UserTable(name="user_instructions", counted_as="instructions", when_moved="one row", is_exported=True),
    # Stops of chats that did not exist yet, seconds ago.
    UserTable(name="early_stops"),
    # A running export, or one whose worker has died.
    UserTable(name="export_holds"),
    # What must be kept, and why: evidence, which outlives the hold. A user on hold is neither erased nor moved.
    UserTable(name="legal_holds", when_erased="kept"),
    # How long the user's conversations are kept.
    UserTable(name="retention_rules"),
    # Written when a user is moved to another cell. It refuses what a client with an old cookie sends here.
    UserTable(name="moved_users", when_erased="kept"),
    # Who read what under which name. It has only ids.
    UserTable(name="staff_access", counted_as="access_records_kept", when_erased="kept", is_exported=True),
    UserTable(name="chat_users", user_column="id", counted_as="directory_entries", is_exported=True),
)
BY_NAME = {table.name: table for table in USER_TABLES}


def is_known_user(*, user_id: UUID) -> bool:
    """Return whether a receipt of `erase_user` would count anything as erased."""
    return any(table.has(user_id) for table in USER_TABLES if table.counted_as and table.when_erased != "kept")
