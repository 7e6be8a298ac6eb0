"""Build indexes while the service writes. A build that breaks off can be run again.

CREATE INDEX CONCURRENTLY that breaks off leaves an invalid index, which PostgreSQL maintains but never uses. Such an index is
dropped and built again. A valid index with the right definition is kept: building it again would take time, and a unique index
would not enforce its rule during that time.
"""

import re
from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import NotSupportedError, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddConstraint
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

FOUND_SQL = """
SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indexrelid = to_regclass(%s) AND indrelid = to_regclass(%s)
"""
# Two equal definitions may differ in the name of the index and in the table's name with its schema.
NAMES_FORM = re.compile(r"INDEX \S+ ON (ONLY )?\S+ USING ")


def require_no_transaction(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Raise `NotSupportedError` in a transaction, where nothing can be built concurrently."""
    if schema_editor.connection.in_atomic_block:
        raise NotSupportedError("indexes are built outside of a transaction: set atomic = False on the migration")


class BuildIndex(AddIndexConcurrently):
    """Add an index of a model unless a valid one exists."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        require_no_transaction(schema_editor)
        model = to_state.apps.get_model(app_label, self.model_name)
        build_index(schema_editor, model._meta.db_table, self.index.name, str(self.index.create_sql(model, schema_editor)))


class BuildUniqueConstraint(AddConstraint):
    """Add a conditional unique constraint of a model, which is a unique index, unless a valid one exists."""

    atomic = False

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        require_no_transaction(schema_editor)
        model = to_state.apps.get_model(app_label, self.model_name)
        statement = str(self.constraint.create_sql(model, schema_editor))
        build_index(schema_editor, model._meta.db_table, self.constraint.name, statement)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        require_no_transaction(schema_editor)
        drop_index(schema_editor, self.constraint.name)


class BuildIndexFromSQL(Operation):
    """Add an index that no model declares unless a valid one exists. `definition` begins with USING."""

    atomic = False
    reversible = True

    def __init__(self, table: str, name: str, definition: str) -> None:
        self.table, self.name, self.definition = table, name, definition

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """No model knows of it."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        require_no_transaction(schema_editor)
        build_index(schema_editor, self.table, self.name, f"CREATE INDEX {self.name} ON {self.table} {self.definition}")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        require_no_transaction(schema_editor)
        drop_index(schema_editor, self.name)

    def describe(self) -> str:
        return f"Concurrently create index {self.name} on {self.table}"


class DropIndex(RemoveIndexConcurrently):
    """Remove an index of a model; on the way back build it, unless a valid one is there."""

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        require_no_transaction(schema_editor)
        model = to_state.apps.get_model(app_label, self.model_name)
        index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        build_index(schema_editor, model._meta.db_table, index.name, str(index.create_sql(model, schema_editor)))


def build_index(schema_editor: BaseDatabaseSchemaEditor, table: str, name: str, statement: str) -> None:
    """Build an index concurrently by this plain CREATE INDEX statement, unless it is there and valid."""
    concurrently = statement.replace("INDEX", "INDEX CONCURRENTLY", 1)
    if schema_editor.collect_sql:
        schema_editor.execute(concurrently, params=None)
        return
    found = _find_index(schema_editor, table, name)
    if found is not None:
        is_valid, definition = found
        if is_valid and NAMES_FORM.sub("INDEX ", definition) == _definition_of(schema_editor, table, name, statement):
            return
        drop_index(schema_editor, name)
    schema_editor.execute(concurrently, params=None)


def drop_index(schema_editor: BaseDatabaseSchemaEditor, name: str) -> None:
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}", params=None)


def _find_index(schema_editor: BaseDatabaseSchemaEditor, table: str, name: str) -> tuple[bool, str] | None:
    """Return whether an index of this table is valid, and its definition; None if there is no index of that name."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(FOUND_SQL, [schema_editor.quote_name(name), schema_editor.quote_name(table)])
        found: tuple[bool, str] | None = cursor.fetchone()
    return found


def _definition_of(schema_editor: BaseDatabaseSchemaEditor, table: str, name: str, statement: str) -> str:
    """Return how PostgreSQL would write down the index that a statement makes, without its names.

    The statement is run on an empty copy of the table, which hides the table itself until the rollback.
    """
    connection: Any = schema_editor.connection
    quoted = schema_editor.quote_name(table)
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE {quoted} (LIKE {quoted})")
        cursor.execute("SELECT set_config('search_path', 'pg_temp, ' || current_setting('search_path'), true)")
        cursor.execute(statement, None)
        cursor.execute(FOUND_SQL, [schema_editor.quote_name(name), quoted])
        _, definition = cursor.fetchone()
        transaction.set_rollback(True, using=connection.alias)
    return NAMES_FORM.sub("INDEX ", definition)
