"""Marks of stops that come before the chat exists."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections, transaction

from conversations.models import EarlyStop
from conversations.services.history.erase import erase_user
from conversations.services.replies.early_stops import mark_early_stop, take_early_stop
from conversations.tests.factories import USER_ID, make_conversation
from tests.support.waiting import wait_until

LIMIT_S = 30
WAITING_SQL = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"


def mark(key: str = "", name: str = "kitchen") -> UUID | None:
    return mark_early_stop(user_id=USER_ID, name=name, key=key)


def take() -> dict[str, object]:
    with transaction.atomic():
        return take_early_stop(user_id=USER_ID, name="kitchen")


@pytest.mark.django_db
def test_the_newest_mark_is_taken_once() -> None:
    assert mark("first") is None
    mark("second")
    assert take()["stop_marked_key"] == "second"
    assert take() == {}


@pytest.mark.django_db(transaction=True)
def test_a_stop_waits_for_the_send_that_creates_the_chat() -> None:
    def mark_elsewhere() -> UUID | None:
        try:
            return mark()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            assert take_early_stop(user_id=USER_ID, name="kitchen") == {}
            created = make_conversation(session_id="kitchen")
            stopping = threads.submit(mark_elsewhere)
            wait_until(_is_anyone_waiting, "the stop waits")
        assert stopping.result(LIMIT_S) == created.id
    assert not EarlyStop.objects.exists()


def _is_anyone_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITING_SQL)
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db
def test_old_marks_go_with_the_next_one() -> None:
    old = datetime.now(UTC) - timedelta(seconds=31)
    EarlyStop.objects.create(user_id=uuid4(), name="other", stopped_at=old)
    mark()
    assert list(EarlyStop.objects.values_list("name", flat=True)) == ["kitchen"]


@pytest.mark.django_db
def test_an_erased_user_leaves_none() -> None:
    mark()
    erase_user(user_id=USER_ID)
    assert not EarlyStop.objects.exists()
