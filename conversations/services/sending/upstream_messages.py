"""Which messages of a conversation may go upstream, and reading them.

These are the messages of the active branch, except a running reply. Of those, the model does not see empty ones, nor a question
that the inference service refused for its content.
`statements.SURVEY_SQL` and `History` read them with the same SQL.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from conversations.keyset import SortKey
from conversations.placeholders import TEXT_SQL, WITHOUT_TEXT_SQL
from inference_proxy.exceptions import ContentRefused
from inference_proxy.protocols import PROTOCOLS

# The role, whether the inference service refused the question before this reply for its content, length in characters, the
# beginnings of the content and of the reasoning (all of them where they fit), and the column `tool_calls`. The length counts
# the reasoning and the calls if those are sent; reasoning that is not sent is "".
HistoryRow = tuple[str, bool, int, str, str, str | None]

ROWS_SQL = "FROM messages WHERE conversation_id = %(conversation_id)s AND is_active AND status <> 'streaming'"
NEWEST_FIRST_SQL = "ORDER BY created_at DESC, id DESC LIMIT %(rows)s"
SELECT_SQL = f"""
SELECT role, coalesce(error_code = '{ContentRefused.code}', false) AS is_refusal,
       length({TEXT_SQL}) + CASE WHEN %(with_reasoning)s AND NOT {WITHOUT_TEXT_SQL} THEN length(reasoning) ELSE 0 END
           + CASE WHEN %(with_tools)s AND tool_calls IS NOT NULL THEN length(tool_calls::text) ELSE 0 END AS length,
       left({TEXT_SQL}, %(characters)s) AS beginning,
       CASE WHEN %(with_reasoning)s THEN left(reasoning, %(characters)s) ELSE '' END AS reasoning, tool_calls, created_at, id
"""  # only a constant goes into it
# Messages without a time, which only the predecessor wrote, sort as the newest.
BEFORE_SQL = """
AND created_at <= %(before_time)s AND (created_at < %(before_time)s OR id < %(before_id)s)
"""
BEFORE_UNTIMED_SQL = "AND (created_at IS NOT NULL OR id < %(before_id)s)"

HISTORY_SQL = f"{SELECT_SQL} {ROWS_SQL} {NEWEST_FIRST_SQL}"


def sends_reasoning() -> bool:
    """Whether the reasoning of earlier replies goes upstream with them."""
    return settings.INFERENCE_SEND_REASONING and PROTOCOLS[settings.INFERENCE_PROTOCOL].takes_reasoning


def sends_tools() -> bool:
    """Whether calls of tools and their outputs go upstream."""
    return PROTOCOLS[settings.INFERENCE_PROTOCOL].takes_tools


@dataclass(frozen=True, slots=True)
class History:
    """The messages that may go upstream: all of a conversation, or those before a place in it. Read as far as needed."""

    conversation_id: UUID
    before: SortKey | None = None

    def read(self, *, rows: int, characters: int) -> list[HistoryRow]:
        """Read the newest rows, newest first, with the first `characters` of each content. One query."""
        statement = f"{SELECT_SQL} {ROWS_SQL} {self._before_sql} {NEWEST_FIRST_SQL}"
        values = {"rows": rows, "characters": characters, "with_reasoning": sends_reasoning(), "with_tools": sends_tools()}
        return [row[:6] for row in self._fetch(statement, values)]

    def count(self, most: int) -> int:
        """Count the messages with text, up to `most`. One query."""
        # In order, so that PostgreSQL reads them through the conversation's index. Otherwise it may read the messages of all
        # users until it has found enough of this conversation.
        rows = (
            f"SELECT 1 {ROWS_SQL} {self._before_sql} AND NOT ({WITHOUT_TEXT_SQL} AND tool_calls IS NULL) "
            "ORDER BY created_at DESC LIMIT %(most)s"
        )
        statement = f"SELECT count(*) FROM ({rows}) AS counted"  # noqa: S608  # only constants go into it
        return int(self._fetch(statement, {"most": most})[0][0])

    @property
    def _before_sql(self) -> str:
        if self.before is None:
            return ""
        return BEFORE_UNTIMED_SQL if self.before.time is None else BEFORE_SQL

    def _fetch(self, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        if self.before is not None:
            values = {**values, "before_time": self.before.time, "before_id": self.before.id}
        with connection.cursor() as cursor:
            cursor.execute(statement, {**values, "conversation_id": self.conversation_id})
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
