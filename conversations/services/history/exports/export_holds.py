"""One export per user at a time, on all nodes, without a connection or a lock that is held meanwhile.

A row says who exports and until when. It is renewed while the export goes on. After the death of its worker it counts for no
longer than HOLD_S.
"""

import time
from typing import Any
from uuid import UUID, uuid4

from django.db import connection

# More than the time that a client may take to read one piece (`chatapi.incoming.response_deadlines`).
HOLD_S = 180
RENEWED_AFTER_S = 30

TAKE_SQL = """
INSERT INTO export_holds (user_id, holder, held_until)
VALUES (%(user_id)s, %(holder)s, now() + make_interval(secs => %(hold_s)s))
ON CONFLICT (user_id) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
WHERE export_holds.held_until < now()
"""
RENEW_SQL = """
UPDATE export_holds SET held_until = now() + make_interval(secs => %(hold_s)s)
WHERE user_id = %(user_id)s AND holder = %(holder)s
"""
RELEASE_SQL = "DELETE FROM export_holds WHERE user_id = %(user_id)s AND holder = %(holder)s"


class Hold:
    """A user's right to export."""

    def __init__(self, user_id: UUID) -> None:
        self._values: dict[str, Any] = {"user_id": user_id, "holder": uuid4(), "hold_s": HOLD_S}
        self._renewed_at = time.monotonic()

    def take(self) -> bool:
        """Return whether the user had no other export."""
        return self._run(TAKE_SQL)

    def renew(self) -> bool:
        """Return whether the hold is still this one's. Asks the database only now and then."""
        if time.monotonic() - self._renewed_at < RENEWED_AFTER_S:
            return True
        self._renewed_at = time.monotonic()
        return self._run(RENEW_SQL)

    def release(self) -> None:
        self._run(RELEASE_SQL)

    def _run(self, statement: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(statement, self._values)
            return bool(cursor.rowcount)
