"""Every state that a reply's row ever had: what a client could have read at some moment, although none looked.

A trigger notes each change of a reply's text or status, in the order in which they were made.
"""

from typing import TYPE_CHECKING, Any

import psycopg

from .violation import Invariant, Violation

if TYPE_CHECKING:
    from .cluster import Cluster

SET_UP_SQL = """
CREATE TABLE fault_history (
    number bigserial PRIMARY KEY, message_id uuid, conversation_id uuid, status text, content text
);
CREATE FUNCTION note_fault_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR (OLD.status, OLD.content) IS DISTINCT FROM (NEW.status, NEW.content) THEN
        INSERT INTO fault_history (message_id, conversation_id, status, content)
        VALUES (NEW.id, NEW.conversation_id, NEW.status, NEW.content);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fault_history AFTER INSERT OR UPDATE ON messages FOR EACH ROW WHEN (NEW.role = 'assistant')
EXECUTE FUNCTION note_fault_history();
"""


def set_up_history(connection: psycopg.Connection[Any]) -> None:
    connection.execute(SET_UP_SQL)


class History:
    """The states of all replies, judged as far as they were read."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self._read_to = 0
        self._last: dict[str, tuple[str, str]] = {}
        self._running: dict[str, set[str]] = {}

    def violations(
        self, *, may_be_interrupted: bool, may_never_begin: bool, continued_id: str | None = None
    ) -> list[Violation]:
        """Judge what is new. Replies may be interrupted if a worker was lost. They may never begin if a commit's answer was.

        Only the reply that is continued leaves a final status, and only for `streaming`.
        """
        rows = self._cluster.rows(
            "SELECT number, message_id::text, conversation_id::text, status, content FROM fault_history"
            " WHERE number > %s ORDER BY number",
            self._read_to,
        )
        found: list[Violation] = []
        for number, message_id, conversation_id, status, content in rows:
            self._read_to = number
            old_status, old_content = self._last.get(message_id, ("", ""))
            self._last[message_id] = (status, content)
            name = f"reply {message_id}"
            if not content.startswith(old_content):
                found.append(Violation(Invariant.GROWS, f"{name} was {old_content!r} and became {content!r}"))
            may_change = old_status in ("", "streaming", "interrupted") or (message_id, status) == (continued_id, "streaming")
            if not may_change and status != old_status:
                found.append(Violation(Invariant.FINAL, f"{name} was {old_status} and became {status}"))
            if status == "interrupted" != old_status and not (may_be_interrupted or (may_never_begin and not content)):
                found.append(Violation(Invariant.GUESS, f"{name} was interrupted, although no worker was lost"))
            running = self._running.setdefault(conversation_id, set())
            running.discard(message_id)
            if status == "streaming":
                if running:
                    found.append(Violation(Invariant.ONE_RUNNING, f"{name} and {running} ran at once"))
                running.add(message_id)
        return found
