"""Connections that die after the pool has checked them and before their first statement."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from psycopg_pool import PoolTimeout

from conversations.models import Conversation
from conversations.services.conversations import create_conversation
from conversations.services.sending.context import Budget
from conversations.services.sending.statements import lock_and_survey
from conversations.surfaces.api.queries import read_conversation_and_messages
from conversations.tests.factories import USER_ID, make_conversation

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


def end_session() -> None:
    """Take a connection from the pool and end its session on the server."""
    connection.ensure_connection()
    assert connection.connection is not None
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
        assert cursor.fetchone() == (True,)
    other.close()


def test_a_read_is_repeated() -> None:
    end_session()
    assert Conversation.objects.count() == 0


def test_reads_in_one_round_trip_are_repeated() -> None:
    conversation = make_conversation()
    connection.close()
    end_session()
    found = read_conversation_and_messages(conversation.id, USER_ID)
    assert (found.id, found.messages) == (conversation.id, [])


def test_the_first_statement_of_a_transaction_is_repeated_in_a_transaction() -> None:
    conversation = make_conversation()
    connection.close()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        end_session()
        Conversation.objects.update(title="changed")
        raise ZeroDivisionError
    assert Conversation.objects.get().title == conversation.title
    connection.close()
    with transaction.atomic():
        end_session()
        Conversation.objects.update(title="changed")
    assert Conversation.objects.get().title == "changed"


def test_without_another_connection_the_error_is_djangos(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PoolTimeout("no connection")

    end_session()
    ours: Any = connection
    monkeypatch.setattr(ours.pool, "getconn", refuse)
    with pytest.raises(OperationalError):
        Conversation.objects.count()


def test_a_write_outside_of_a_transaction_is_not_repeated() -> None:
    end_session()
    with pytest.raises(OperationalError):
        Conversation.objects.update(title="changed")


def test_an_insert_in_one_round_trip_is_not_repeated() -> None:
    end_session()
    with pytest.raises(OperationalError):
        create_conversation(("id",), user_id=USER_ID)
    connection.close()
    assert not Conversation.objects.exists()


def test_a_transaction_that_has_begun_is_not_continued_elsewhere() -> None:
    make_conversation()
    connection.close()
    with pytest.raises(OperationalError), transaction.atomic():
        Conversation.objects.update(title="changed")
        end_session()
        Conversation.objects.count()
    assert Conversation.objects.get().title != "changed"


def test_the_begin_of_a_send_is_repeated() -> None:
    conversation = make_conversation()
    connection.close()
    with transaction.atomic():
        end_session()
        locked, _ = lock_and_survey(conversation.id, USER_ID, Budget.left_by("hi", ""), idempotency_key="", limited=True)
    assert locked is not None
