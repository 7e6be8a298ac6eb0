"""How a user is closed for a move to another cell: what is refused, what is waited for, and what breaks a move off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from conversations.management import cell_moves
from conversations.models import Conversation, Message, MovedUser, QueuedMessage, UserQuota
from conversations.new_ids import new_id
from conversations.services.history import cells
from conversations.services.history.cells import MoveProblem, MoveResult, close_user, states_of
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_running_reply

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]


def queue(conversation: Conversation, place: int = 1) -> QueuedMessage:
    values: dict[str, Any] = {"reply_id": new_id(), "content": "later", "request": {}, "is_held": False}
    return QueuedMessage.objects.create(id=new_id(), conversation=conversation, place=place, **values)


def begin(*, is_closed: bool = False) -> None:
    MovedUser.objects.create(user_id=USER_ID, begun_at=timezone.now(), closed_at=timezone.now() if is_closed else None)
    cells._mark()


def is_marked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT bool_and(moves_users) FROM change_era_marks")
        return bool(cursor.fetchone()[0])


def assert_refused(write: Callable[[], Any]) -> None:
    with pytest.raises(DatabaseError, match="moved to another cell"), transaction.atomic():
        write()


def test_messages_that_wait_are_refused_and_kept() -> None:
    waiting = queue(make_conversation())
    begin()
    assert_refused(lambda: queue(waiting.conversation, place=2))
    # What waits already may still begin or be held, until the user is closed.
    QueuedMessage.objects.update(is_held=True)
    MovedUser.objects.update(closed_at=timezone.now())
    assert_refused(lambda: QueuedMessage.objects.update(is_held=False))
    assert_refused(lambda: QueuedMessage.objects.all().delete())


def test_quotas_are_refused() -> None:
    UserQuota.objects.create(user_id=USER_ID, tokens_day=5)
    begin()
    assert_refused(lambda: UserQuota.objects.update(tokens_day=6))


def test_messages_that_wait_are_held() -> None:
    waiting = queue(make_conversation())
    close_user(USER_ID, wait_s=0)
    waiting.refresh_from_db()
    assert waiting.is_held


def test_the_mark_is_set_before_transactions_are_waited_for_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    make_conversation()
    seen: list[bool] = []

    def lose_the_mark(_: Any) -> None:
        """Another transaction, which began before, has made a mark that knows of no move."""
        seen.append(is_marked())
        with connection.cursor() as cursor:
            cursor.execute("UPDATE change_era_marks SET moves_users = false")

    monkeypatch.setattr(cells, "_outlast_transactions", lose_the_mark)
    close_user(USER_ID, wait_s=0)
    assert seen == [True, True]


@pytest.mark.django_db(transaction=True)
def test_transactions_that_are_writing_are_waited_for() -> None:
    parameters = connection.get_connection_params()
    names = ("dbname", "host", "port", "user", "password")
    with psycopg.connect(**{name: parameters[name] for name in names if name in parameters}) as other:
        other.execute("SELECT txid_current()")
        asked = 0

        def end_it() -> bool:
            nonlocal asked
            asked += 1
            other.commit()
            return False

        cells._outlast_transactions(end_it)
    assert asked >= 1


def test_replies_that_run_on_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    running = make_running_reply(make_message(make_conversation()), "so far")

    def stop(reply_id: Any) -> None:
        Message.objects.filter(id=reply_id).update(status="stopped")

    monkeypatch.setattr(cells, "stop_one_reply", stop)
    close_user(USER_ID, wait_s=0)
    running.refresh_from_db()
    assert running.status == "stopped"
    assert MovedUser.objects.get().closed_at is not None


def test_a_reply_that_can_not_be_stopped_breaks_the_move_off(monkeypatch: pytest.MonkeyPatch) -> None:
    make_running_reply(make_message(make_conversation()), "so far")
    monkeypatch.setattr(cells, "stop_one_reply", lambda reply_id: None)
    with pytest.raises(MoveProblem, match="still runs"):
        close_user(USER_ID, wait_s=0)
    assert MovedUser.objects.get().closed_at is None


def test_values_are_compared_and_not_only_counted(manage: Manage, tmp_path: Path) -> None:
    make_conversation()
    UserQuota.objects.create(user_id=USER_ID, tokens_day=5)
    archive = tmp_path / "user.jsonl"
    manage("move_history", "--from", str(USER_ID), "--to-cell", str(archive))
    manage("move_history", "--from", str(USER_ID), "--erase-moved", "--yes")
    lines = []
    for line in archive.read_text().splitlines():
        read = json.loads(line)
        if read.get("row", {}).get("table") == "user_quotas":
            read["row"]["values"]["tokens_day"] = 500
            line = json.dumps(read, separators=(",", ":"))
        lines.append(line)
    archive.write_text("\n".join(lines) + "\n")
    with pytest.raises(CommandError, match="user_quotas"):
        manage("move_history", "--from-cell", str(archive))
    assert states_of(USER_ID)["user_quotas"].rows == 1


def test_a_file_that_exists_is_left_alone(manage: Manage, tmp_path: Path) -> None:
    make_conversation()
    archive = tmp_path / "user.jsonl"
    archive.write_text("another archive")
    with pytest.raises(CommandError, match="new file") as refused:
        manage("move_history", "--from", str(USER_ID), "--to-cell", str(archive))
    assert refused.value.returncode == 2
    assert archive.read_text() == "another archive" and not MovedUser.objects.exists()


def test_what_is_not_archived_as_a_whole_is_not_erased(manage: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_conversation()
    monkeypatch.setattr(cell_moves, "write_archive", lambda user_id, *arguments, **options: MoveResult(user_id))
    with pytest.raises(CommandError, match="Interrupted"):
        manage("move_history", "--from", str(USER_ID), "--to-cell", str(tmp_path / "user.jsonl"))
    assert MovedUser.objects.get().archived_at is None
    with pytest.raises(CommandError, match="was not moved"):
        manage("move_history", "--from", str(USER_ID), "--erase-moved", "--yes")
