"""What a connection sets, whatever its role has as a default."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from psycopg import Connection, sql
from psycopg.errors import IdleInTransactionSessionTimeout

from chatapi.database import server_parameters
from chatapi.database.failures import is_database_away
from chatapi.database.server_parameters import COMMANDS, SERVING, set_parameters
from conversations.models import Conversation
from conversations.tests.factories import make_conversation

pytestmark = pytest.mark.django_db(transaction=True)
AWKWARD = {
    "default_transaction_isolation": "serializable",
    "statement_timeout": "5s",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1s",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "gin_fuzzy_search_limit": "1",
    "idle_session_timeout": "1min",
}


@pytest.fixture
def awkward_role() -> Iterator[str]:
    """A role whose own settings are all wrong for the service."""
    name = "awkward"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
        for setting, value in AWKWARD.items():
            cursor.execute(sql.SQL("ALTER ROLE awkward SET {} = {}").format(sql.Identifier(setting), sql.Literal(value)))
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE {name}")


def connect_as(role: str) -> "Connection[Any]":
    settings = connection.settings_dict
    parameters: Any = {"host": settings["HOST"], "dbname": settings["NAME"], "user": role}
    if settings["PORT"]:
        parameters["port"] = settings["PORT"]
    return Connection.connect(**parameters, autocommit=True)


def shown(opened: "Connection[Any]", name: str) -> str:
    return str(opened.execute("SELECT current_setting(%s)", [name]).fetchone()[0])  # type: ignore[index]


def test_it_sets_what_the_service_relies_on(awkward_role: str) -> None:
    with connect_as(awkward_role) as opened:
        set_parameters(opened)
        for name in SERVING:
            assert shown(opened, name) not in (AWKWARD.get(name), ""), name
        # Operators may bound what a request costs.
        assert shown(opened, "statement_timeout") == "5s"


def test_a_command_takes_its_time(awkward_role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_parameters, "_settings", COMMANDS)
    with connect_as(awkward_role) as opened:
        set_parameters(opened)
        assert (shown(opened, "statement_timeout"), shown(opened, "lock_timeout")) == ("0", "0")


def test_connections_of_requests_have_the_settings() -> None:
    connection.close()
    # `migrate` has lifted the limits of the session that it used.
    connection.pool.drain()  # type: ignore[attr-defined]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')")
        assert cursor.fetchone() == ("3s", "5s")


def test_a_forgotten_lock_is_waited_for_less_long_than_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = make_conversation()
    connection.close()
    with connect_as(connection.settings_dict["USER"]) as holder, holder.transaction():
        holder.execute("SELECT 1 FROM conversations WHERE id = %s FOR UPDATE", [conversation.id])
        with pytest.raises(OperationalError) as failure, transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '50ms'")
            Conversation.objects.select_for_update().get(id=conversation.id)
        assert is_database_away(failure.value)
    assert int(SERVING["lock_timeout"].removesuffix("s")) < connection.settings_dict["OPTIONS"]["pool"]["timeout"]


def test_the_server_ends_a_transaction_that_its_client_forgot() -> None:
    conversation = make_conversation()
    with suppress(IdleInTransactionSessionTimeout), connect_as(connection.settings_dict["USER"]) as frozen:
        set_parameters(frozen)
        frozen.execute("SET idle_in_transaction_session_timeout = '100ms'")
        frozen.execute("BEGIN")
        frozen.execute("SELECT 1 FROM conversations WHERE id = %s FOR UPDATE", [conversation.id])
        # Waits until the server has given the lock back.
        with transaction.atomic():
            assert Conversation.objects.select_for_update().get(id=conversation.id) == conversation
