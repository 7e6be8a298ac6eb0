"""A user's own instructions: what the model is told in all of the user's conversations, behind the system prompt.

A send reads them with the lock on its conversation (`sending.statements.LOCK_SQL`), and not in temporary ones.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from conversations.models import UserInstructions
from conversations.services.history.holds import refuse_held_user

SAVE_SQL = """
INSERT INTO user_instructions (user_id, text, is_active) VALUES (%s, %s, %s)
ON CONFLICT (user_id) DO UPDATE SET text = excluded.text, is_active = excluded.is_active, updated_at = now()
RETURNING text, is_active, updated_at
"""


@dataclass(frozen=True, slots=True)
class Instructions:
    """Without any, `text` is empty and `updated_at` None."""

    text: str = ""
    is_active: bool = False
    updated_at: datetime | None = None


def read_instructions(*, user_id: UUID) -> Instructions:
    row = UserInstructions.objects.filter(user_id=user_id).values_list("text", "is_active", "updated_at").first()
    return Instructions(*row) if row else Instructions()


def save_instructions(*, user_id: UUID, text: str, is_active: bool) -> Instructions:
    with connection.cursor() as cursor:
        cursor.execute(SAVE_SQL, [user_id, text, is_active])
        return Instructions(*cursor.fetchone())


def delete_instructions(*, user_id: UUID) -> None:
    """Raises `OnHold`."""
    refuse_held_user(user_id)
    UserInstructions.objects.filter(user_id=user_id).delete()
