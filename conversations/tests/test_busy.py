"""Whether a reply that runs elsewhere is followed, by what its row says."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from conversations.models import Message
from conversations.services.sending import busy
from conversations.tests.factories import make_conversation, make_message, make_running_reply

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick_notes(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.CHECKPOINT_SECONDS = 0.1
    monkeypatch.setattr(busy, "NOTE_LIFETIME_S", 0.1)
    monkeypatch.setattr(busy, "LATENESS_S", 0.1)
    monkeypatch.setattr(busy, "PAUSE_S", 0.01)


def running(**fields: Any) -> Message:
    return make_running_reply(make_message(make_conversation()), "half", **fields)


def change_at_the_second_look(monkeypatch: pytest.MonkeyPatch, reply: Message, **changes: Any) -> None:
    """Let another worker write this after the first look at the row."""
    read = busy._read_notes
    looks: list[Any] = []

    def read_and_change(reply_id: Any) -> Any:
        looks.append(reply_id)
        if len(looks) == 2:
            Message.objects.filter(id=reply.id).update(**changes)
        return read(reply_id)

    monkeypatch.setattr(busy, "_read_notes", read_and_change)


def test_what_its_worker_has_not_looked_at_yet_counts_as_followed() -> None:
    assert busy.is_followed(running().id)


def test_its_worker_says_that_it_has_no_followers() -> None:
    assert not busy.is_followed(running(is_followed=False).id)


def test_an_old_word_of_its_worker_is_not_enough_to_stop_it() -> None:
    assert busy.is_followed(running(is_followed=True).id)


@pytest.mark.parametrize("followed", [True, False])
def test_the_next_checkpoint_decides(monkeypatch: pytest.MonkeyPatch, followed: bool) -> None:
    reply = running(is_followed=True)
    change_at_the_second_look(monkeypatch, reply, is_followed=followed, heartbeat_at=Now())
    assert busy.is_followed(reply.id) is followed


@pytest.mark.parametrize(
    ("followed_at", "expected"),
    [(lambda: Now(), True), (lambda: Now() - timedelta(seconds=60), False)],
    ids=["renewed", "not renewed"],
)
def test_a_note_of_another_worker_counts_while_it_is_renewed(
    monkeypatch: pytest.MonkeyPatch, followed_at: Callable[[], Any], expected: bool
) -> None:
    reply = running(is_followed=False, followed_at=Now())
    change_at_the_second_look(monkeypatch, reply, followed_at=followed_at())
    assert busy.is_followed(reply.id) is expected


def test_one_that_ended_meanwhile_blocks_no_send(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = running(is_followed=True)
    change_at_the_second_look(monkeypatch, reply, status="complete")
    assert not busy.is_followed(reply.id)
