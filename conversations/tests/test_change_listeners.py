"""The listeners of a process: one statement a round for all of them, and nothing piles up for a slow one."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.db import connection, connections, transaction

from chatapi.database.connections import run_on_own_connection
from conversations.models import Conversation
from conversations.services.changes import listening
from conversations.services.changes.listening import Listener, Listeners
from conversations.services.changes.reading import Page, begin
from conversations.tests.factories import make_conversation
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

COLUMNS = ("id", "title")
USERS, LISTENERS_EACH = 12, 4


class Rounds:
    """What the listeners' thread asks of the database."""

    def __init__(self) -> None:
        self.users: list[int] = []

    def run(self, *statements: Any) -> Any:
        ((_, values),) = statements
        self.users.append(values["users"].count(",") + 1)
        return run_on_own_connection(*statements)


def encode(rows: Sequence[dict[str, Any]], gone: Sequence[UUID], cursor: str, has_more: bool) -> bytes:
    return orjson.dumps({"titles": [row["title"] for row in rows], "gone": gone})


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    monkeypatch.setattr(listening, "ROUND_SECONDS", 0.02)
    return Rounds()


@pytest.fixture
def listen(rounds: Rounds) -> Iterator[Callable[[UUID], Listener]]:
    """Make listeners that have caught up and are told by rounds from now on."""
    listeners = Listeners(COLUMNS, encode, rounds.run)
    opened: list[Listener] = []

    def make(user_id: UUID) -> Listener:
        listener = listeners.join(user_id, Page([], [], begin(user_id), has_more=False))
        opened.append(listener)
        assert titles(listener) == [[]]
        wait_until(lambda: listener.read(0) == [] and listener.is_live, "rounds tell the listener")
        return listener

    yield make
    for listener in opened:
        listener.close()
    wait_until(lambda: not any(thread.name == "changes" for thread in threading.enumerate()), "the thread has ended")
    connections.close_all()


def titles(listener: Listener) -> list[list[str]]:
    """Wait for the next events, and return what each told."""
    return [orjson.loads(payload)["titles"] for _, payload in listener.read(20)]


def test_one_statement_a_round_is_for_all_listeners(listen: Callable[[UUID], Listener], rounds: Rounds) -> None:
    users = [uuid4() for _ in range(USERS)]
    for user_id in users:
        make_conversation(user_id)
    listeners = [listen(user_id) for user_id in users for _ in range(LISTENERS_EACH)]
    rounds.users.clear()
    Conversation.objects.update(title="told")
    assert [titles(listener) for listener in listeners] == [[["told"]]] * len(listeners)
    # `Rounds` fails for a round of two statements.
    assert set(rounds.users) == {USERS}


def test_a_listener_that_does_not_read_is_told_the_newest_state_once(
    listen: Callable[[UUID], Listener], rounds: Rounds
) -> None:
    user_id = uuid4()
    conversation = make_conversation(user_id)
    slow, quick = listen(user_id), listen(user_id)
    for number in range(listening.MOST_WAITING + 5):
        Conversation.objects.filter(id=conversation.id).update(title=f"title {number}")
        while titles(quick) != [[f"title {number}"]]:
            pass
    assert len(slow._waiting) <= listening.MOST_WAITING
    assert titles(slow) == [[f"title {listening.MOST_WAITING + 4}"]]
    wait_until(lambda: slow.read(0) == [] and slow.is_live, "rounds tell the listener again")


def test_more_than_a_round_tells_is_told_in_pages(listen: Callable[[UUID], Listener], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PAGE", 2)
    user_id = uuid4()
    listener = listen(user_id)
    Conversation.objects.bulk_create(Conversation(user_id=user_id, title=f"{number}") for number in range(5))
    told: list[str] = []
    while len(told) < 5:
        for page in titles(listener):
            assert len(page) <= 2
            told += page
    assert sorted(told) == list("01234")
    assert listener.read(0) == []


def oldest_running() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return int(cursor.fetchone()[0])


def newest_change(user_id: UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT changed_in::text::bigint FROM conversation_changes WHERE user_id = %s ORDER BY changed_in DESC LIMIT 1",
            [user_id],
        )
        return int(cursor.fetchone()[0])


def test_an_interrupted_history_sends_each_listener_back_to_its_cursor(listen: Callable[[UUID], Listener]) -> None:
    user_id = uuid4()
    conversation = make_conversation(user_id)
    listener = listen(user_id)
    # An era begins at the oldest transaction that runs anywhere. What was told must be older, or the stream ends.
    wait_until(lambda: oldest_running() > newest_change(user_id), "transactions of other databases have ended")
    with transaction.atomic(), connection.cursor() as cursor:
        # As after a crash: the next change begins an era.
        cursor.execute("TRUNCATE change_era_marks")
        Conversation.objects.filter(id=conversation.id).update(title="after")
    assert titles(listener) == [["after"]]
    wait_until(lambda: listener.read(0) == [] and listener.is_live, "rounds tell the listener again")
    Conversation.objects.filter(id=conversation.id).update(title="later")
    assert titles(listener) == [["later"]]


def test_a_history_that_lost_what_was_told_ends_the_stream(listen: Callable[[UUID], Listener]) -> None:
    user_id = uuid4()
    make_conversation(user_id)
    listener = listen(user_id)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM conversation_changes WHERE user_id = %s", [user_id])
        cursor.execute("TRUNCATE change_era_marks")
    make_conversation(uuid4())
    wait_until(lambda: listener.read(0.1) == [] and listener.has_ended, "the stream ends")
