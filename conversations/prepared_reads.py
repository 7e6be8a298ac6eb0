"""Reads whose SQL is built once per process.

For a small read, Django takes longer to build the SQL than PostgreSQL takes to answer it, and it builds the same SQL for each
request. `PreparedRead` builds it at the first call, with placeholders for the ids. Later calls only insert the ids.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.db.models import QuerySet

Rows = QuerySet[Any, dict[str, Any]]
Question = Callable[..., Rows]


class PreparedRead:
    """A decorator for a function that takes ids and returns a queryset of `.values()`, whose SQL is the same for all ids."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._built: tuple[str, list[tuple[str | None, Any]], tuple[str, ...]] | None = None

    def __call__(self, **ids: UUID) -> list[dict[str, Any]]:
        """Return the rows. One query."""
        if self._built is None:
            # Two threads may build it at once. Both build the same.
            self._built = self._build()
        sql, parameters, columns = self._built
        with connection.cursor() as cursor:
            cursor.execute(sql, [constant if name is None else ids[name] for name, constant in parameters])
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    def _build(self) -> tuple[str, list[tuple[str | None, Any]], tuple[str, ...]]:
        placeholders = {name: uuid4() for name in signature(self._question).parameters}
        names = {placeholder: name for name, placeholder in placeholders.items()}
        query = self._question(**placeholders).query
        compiler = query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        if compiler.get_converters([expression for expression, _, _ in compiler.select]):
            raise TypeError("a column that Django converts after reading can't be read this way")
        found = [(names.get(parameter) if isinstance(parameter, UUID) else None, parameter) for parameter in parameters]
        if {name for name, _ in found} - {None} != set(placeholders):
            raise TypeError("each id must be a parameter of the SQL")
        return sql, found, tuple(query.selected or ())
