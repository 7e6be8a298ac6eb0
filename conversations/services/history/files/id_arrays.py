"""The ids of a batch as the text of a PostgreSQL array.

The ids go from one statement to the next, and Python does not need a single id. Converting a thousand ids to UUIDs and back for
each statement takes longer than the database takes to delete their messages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

IDS_SQL = "SELECT coalesce(array_agg(id)::text, '{{}}'), count(*) FROM ({rows}) AS rows (id)"


@dataclass(frozen=True, slots=True)
class IdArray:
    """Ids in an order; `text` is a literal of PostgreSQL's `uuid[]`."""

    text: str = "{}"
    size: int = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[UUID]:
        return map(UUID, self.text[1:-1].split(",")) if self.size else iter(())

    @classmethod
    def of(cls, ids: Sequence[UUID]) -> "IdArray":
        return cls("{" + ",".join(map(str, ids)) + "}", len(ids))


def ids_of(rows: "QuerySet[Any]") -> IdArray:
    """Return the ids of rows, in the query's order. One query, which may lock."""
    statement, parameters = rows.values_list("id").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(IDS_SQL.format(rows=statement), parameters)
        return IdArray(*cursor.fetchone())
