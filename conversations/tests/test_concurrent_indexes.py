"""Each index that a migration builds concurrently: kept if it is whole, built again if it is not."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from conversations.migrating.indexes import BuildIndex, BuildIndexFromSQL, BuildUniqueConstraint

Build = BuildIndex | BuildIndexFromSQL | BuildUniqueConstraint
LOADER = MigrationLoader(None)
IDENTITY_SQL = "SELECT indexrelid, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = to_regclass(%s)"


def builds() -> list[Any]:
    """List the operations that build the indexes of today's schema, each with its migration."""
    found = []
    for (app_label, name), migration in sorted(LOADER.disk_migrations.items()):
        if app_label == "conversations":
            concurrent = [operation for operation in migration.operations if isinstance(operation, Build)]
            found += [pytest.param((app_label, name), operation, id=name_of(operation)) for operation in concurrent]
    return found


def name_of(operation: Build) -> str:
    if isinstance(operation, BuildIndexFromSQL):
        return operation.name
    return operation.index.name if isinstance(operation, BuildIndex) else operation.constraint.name


def run(migration: tuple[str, str], operation: Build) -> None:
    before, after = LOADER.project_state([migration], at_end=False), LOADER.project_state([migration])
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("conversations", editor, before, after)


def identity(name: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(IDENTITY_SQL, [name])
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("migration", "operation"), builds())
def test_every_build_can_be_run_again(migration: tuple[str, str], operation: Build) -> None:
    name = name_of(operation)
    whole = identity(name)
    if whole is None:
        # A later migration has dropped it.
        return
    run(migration, operation)
    assert identity(name) == whole
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s", [whole[0]])
    run(migration, operation)
    mended = identity(name)
    assert mended[0] != whole[0]
    assert mended[1:] == whole[1:]


def test_the_builds_are_found() -> None:
    assert len(builds()) >= 18


def test_no_migration_builds_an_index_that_can_not_be_built_again() -> None:
    operations = [
        each for key, migration in LOADER.disk_migrations.items() if key[0] == "conversations" for each in migration.operations
    ]
    assert not [each for each in operations if type(each).__name__ in ("AddIndexConcurrently", "RemoveIndexConcurrently")]
