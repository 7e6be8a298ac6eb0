"""Statements whose SQL is built once per process.

For a small statement, Django takes longer to build the SQL than PostgreSQL takes to execute it, and it builds the same SQL for
each request. `PreparedStatement` builds it at the first call, with a `Parameter` in the place of each value. Later calls only
insert the values. PostgreSQL plans it once per session (see `chatapi.database.statement_names`), so constants are part of the
SQL: a plan for any status can't use the index of running replies.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from django.db import connection
from django.db.models import Expression, QuerySet
from django.db.models.sql import DeleteQuery, InsertQuery, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler
from psycopg.sql import quote

from chatapi.database.round_trips import PLANNED_EACH_TIME, Statement, read_together, run_together

Rows = QuerySet[Any, dict[str, Any]]
# Constants of these types are written into the SQL.
INLINED = (str, bool, int)
# Of a page: how many rows, and how many before them are skipped.
LIMIT, OFFSET = "limit", "offset"
# PostgreSQL expects an average user to have fewer conversations than a page, and would read and sort all of a user with
# thousands. If it can't see the limit, it plans for the first tenth of the rows, which an index gives in their order.
HIDDEN_LIMIT = " LIMIT (SELECT %s::bigint)"
# The value that says after which row a page begins.
AFTER = "after_time"


class Parameter(Expression):
    """The place of a value in a queryset."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        return "%s", [self]


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert a row with these values, and return it as `.values()` of a queryset would. Other columns get their default."""

    returned: Rows
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """Change the rows of a `.values()` and return them with the changes."""

    returned: Rows
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the rows of a `.values()` and return them."""

    returned: Rows


Change = Insert | Update | Delete


@dataclass(frozen=True, slots=True)
class _Built:
    sql: str
    # Of each place in the SQL: its name there, and the name of a value, or None and a constant.
    parameters: list[tuple[str, str | None, Any]]
    columns: tuple[str, ...]
    only_reads: bool

    def with_values(self, values: Mapping[str, Any]) -> Statement:
        return self.sql, {place: constant if name is None else values[name] for place, name, constant in self.parameters}

    def as_dicts(self, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        if rows and len(rows[0]) != len(self.columns):
            raise TypeError("the SQL returns other columns than it should")
        # Not strict, which takes half as long again: all rows have as many columns as the first.
        return [dict(zip(self.columns, row, strict=False)) for row in rows]


@dataclass(frozen=True, slots=True)
class Read:
    """A statement that only reads, and its values: see `read_all`."""

    built: _Built
    statement: Statement

    def as_dicts(self, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        return self.built.as_dicts(rows)


def read_all(*reads: Read) -> list[list[dict[str, Any]]]:
    """Return the rows of each read. All reads are one round trip. Each counts as a query."""
    found = read_together(*[read.statement for read in reads])
    return [read.as_dicts(rows) for read, rows in zip(reads, found, strict=True)]


class PreparedStatement:
    """A decorator for a function that takes values and returns a `.values()`, an `Insert`, an `Update` or a `Delete`.

    The function gets a `Parameter` for each keyword argument, but None for None, so that it can leave a condition out. It gets
    positional arguments as they are. So the SQL is built once for each combination of positional arguments, names and Nones.

    `around` is SQL with the place `{page}` for the SQL of the function, and returns its columns and `more`.
    """

    def __init__(
        self,
        describe: Callable[..., Rows | Change],
        *,
        around: str = "{page}",
        more: tuple[str, ...] = (),
    ) -> None:
        self._describe = describe
        self._around = around
        self._more = more
        self._built: dict[Hashable, _Built] = {}

    def __call__(self, *shape: Hashable, **values: Any) -> list[dict[str, Any]]:
        """Return the rows. One query. With the values `limit` and `offset`, which the function does not get, it is a page."""
        built = self._built_for(shape, values)
        statement = built.with_values(values)
        (rows,) = read_together(statement) if built.only_reads else run_together(statement)
        return built.as_dicts(rows)

    def reading(self, *shape: Hashable, **values: Any) -> Read:
        """Return the call as a part of `read_all`. The function returns a `.values()`."""
        built = self._built_for(shape, values)
        return Read(built, built.with_values(values))

    def _built_for(self, shape: tuple[Hashable, ...], values: Mapping[str, Any]) -> _Built:
        key = (shape, *values, None, *[name for name, value in values.items() if value is None])
        built = self._built.get(key)
        if built is None:
            # Two threads may build it at once. Both build the same.
            built = self._built[key] = self._build(shape, values)
        return built

    def _build(self, shape: tuple[Hashable, ...], values: Mapping[str, Any]) -> _Built:
        described = {name: None if value is None else Parameter(name) for name, value in values.items()}
        page = [described.pop(name) for name in (LIMIT, OFFSET) if name in described]
        statement = self._describe(*shape, **described)
        returned = statement if isinstance(statement, QuerySet) else statement.returned
        compiler = returned.query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        if compiler.get_converters([expression for expression, _, _ in compiler.select]):
            raise TypeError("a column that Django converts after reading can't be read this way")
        if not isinstance(statement, QuerySet):
            sql, parameters = _returning(statement, compiler)
        if page:
            sql, parameters = f"{sql}{HIDDEN_LIMIT} OFFSET %s", [*parameters, *page]
        sql = self._around.replace("{page}", sql)
        if AFTER in described and described[AFTER] is not None:
            # A plan for any cursor expects few rows after it, and sorts what may be thousands.
            sql = PLANNED_EACH_TIME + sql
        given = {one.name for one in parameters if isinstance(one, Parameter)}
        if given != {name for name, value in values.items() if value is not None}:
            raise TypeError("each value must be a parameter of the SQL")
        named: list[tuple[str, str | None, Any]] = []
        written: list[str] = []
        for number, one in enumerate(parameters):
            if isinstance(one, INLINED):
                written.append(quote(one).strip())
            else:
                place = f"p{number}"
                named.append((place, one.name, None) if isinstance(one, Parameter) else (place, None, one))
                written.append(f"%({place})s")
        columns = (*(returned.query.selected or ()), *self._more)
        return _Built(_fill_places(sql, written), named, columns, only_reads=isinstance(statement, QuerySet))


def _fill_places(sql: str, written: Sequence[str]) -> str:
    """Write into each place of the SQL what belongs there. Django doubles percent signs, as psycopg wants them."""
    pieces = [piece.replace("%%", "%") for piece in sql.split("%s")]
    return "".join(piece + value for piece, value in zip(pieces, [*written, ""], strict=True))


def _returning(change: Change, compiler: SQLCompiler) -> tuple[str, list[Any]]:
    """Return the SQL of a change that returns what `compiler` selects, and its parameters."""
    query: Any
    if isinstance(change, Insert):
        table = change.returned.model._meta
        query = InsertQuery(change.returned.model)
        # `raw`, because the attributes are no model's: it need not be asked for values.
        query.insert_values([table.get_field(name) for name in change.row], [SimpleNamespace(**change.row)], raw=True)
        ((sql, parameters),) = query.get_compiler(connection=connection).as_sql()
    elif isinstance(change, Delete):
        query = change.returned.query.chain(DeleteQuery)
        query.clear_select_clause()
        sql, parameters = query.get_compiler(connection=connection).as_sql()
    else:
        query = change.returned.query.chain(UpdateQuery)
        query.add_update_values(change.changes)
        query.clear_select_clause()
        sql, parameters = query.get_compiler(connection=connection).as_sql()
    columns = [column for _, (column, _), _ in compiler.select]
    of_columns = [parameter for _, (_, some), _ in compiler.select for parameter in some]
    return f"{sql} RETURNING {', '.join(columns)}", [*parameters, *of_columns]
