"""Deleting: confirmed, counted in the database, and what runs is stopped first."""

import threading

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from conversations.admin import deleting
from conversations.models import Conversation, Message, StaffAccess
from conversations.tests.factories import USER_ID, make_conversation

from .factories import make_long_conversation, make_message, make_staff

LIST = "/admin/conversations/conversation/"


def _selection(*conversations: Conversation, **more: str) -> dict[str, object]:
    return {"action": "delete_selection", "_selected_action": [str(one.pk) for one in conversations], **more}


@pytest.mark.django_db
def test_one_is_deleted_after_a_confirmation_that_counts(operator: Client) -> None:
    doomed, kept = make_long_conversation(3, title="Doomed"), make_long_conversation(1)
    page = operator.get(f"{LIST}{doomed.pk}/delete/")
    assert page.context["message_count"] == "6"
    assert Conversation.objects.count() == 2
    assert operator.post(f"{LIST}{doomed.pk}/delete/").status_code == 200
    assert Conversation.objects.count() == 2, "without the confirmation nothing is deleted"
    assert operator.post(f"{LIST}{doomed.pk}/delete/", {"confirmed": "yes"}).status_code == 302
    assert set(Message.objects.values_list("conversation_id", flat=True)) == {kept.pk}
    assert StaffAccess.objects.filter(kind="deleted").values_list("conversation_id", "user_id").get() == (doomed.pk, USER_ID)


@pytest.mark.django_db
def test_a_selection_is_deleted_after_a_confirmation(operator: Client) -> None:
    first, second, kept = make_long_conversation(2), make_long_conversation(3), make_conversation(title="Kept")
    page = operator.post(LIST, _selection(first, second))
    assert page.context["message_count"] == "10"
    assert page.content.decode().count('name="_selected_action"') == 2
    assert f"{USER_ID} (2 conversations)" in page.content.decode()
    assert operator.post(LIST, _selection(first, second, confirmed="yes")).status_code == 302
    assert list(Conversation.objects.all()) == [kept]
    assert not Message.objects.exists()


@pytest.mark.django_db
def test_no_message_is_loaded(operator: Client) -> None:
    doomed = make_long_conversation(50)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        operator.get(f"{LIST}{doomed.pk}/delete/")
        operator.post(f"{LIST}{doomed.pk}/delete/", {"confirmed": "yes"})
    about_messages = [query["sql"] for query in asked if '"messages"' in query["sql"]]
    assert about_messages
    assert not [sql for sql in about_messages if '"content"' in sql]
    assert not [sql for sql in about_messages if sql.startswith("DELETE")]


@pytest.mark.django_db
def test_the_count_stops_somewhere(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleting, "MOST_COUNTED_MESSAGES", 5)
    page = operator.get(f"{LIST}{make_long_conversation(3).pk}/delete/")
    assert page.context["message_count"] == "more than 5"


@pytest.mark.django_db
def test_too_many_at_once_are_refused_whole(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleting, "MOST_DELETED", 2)
    three = [make_conversation() for _ in range(3)]
    for selection in (_selection(*three, confirmed="yes"), _selection(three[0], confirmed="yes", select_across="1")):
        page = operator.post(LIST, selection, follow=True)
        assert "You can delete at most 2 conversations" in page.content.decode()
    assert Conversation.objects.count() == 3


@pytest.mark.django_db
def test_what_users_wrote_does_not_stay_in_djangos_log(operator: Client) -> None:
    from django.contrib.admin.models import LogEntry

    operator.post(f"{LIST}{make_conversation(title='A secret').pk}/delete/", {"confirmed": "yes"})
    assert not LogEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_running_reply_is_stopped_before_its_conversation_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply's worker, here a thread with its own connection, learns that it must stop, and ends the reply."""
    conversation = make_conversation()
    from django.db.models.functions import Now

    reply = make_message(conversation, "assistant", "so far", status="streaming", heartbeat_at=Now())
    seen: list[bool] = []

    def work() -> None:
        try:
            mine = Message.objects.filter(id=reply.pk)
            while not mine.filter(stop_requested=True).exists():
                if done.wait(0.01):
                    return
            seen.append(Conversation.objects.filter(id=conversation.pk).exists())
            mine.update(status="stopped")
        finally:
            connections.close_all()

    done = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    client = Client()
    client.force_login(make_staff("root", superuser=True))
    try:
        assert client.get(f"{LIST}{conversation.pk}/delete/").context["running_count"] == 1
        client.post(f"{LIST}{conversation.pk}/delete/", {"confirmed": "yes"})
    finally:
        done.set()
        worker.join()
    assert seen == [True], "it was asked to stop while the conversation was still there"
    assert not Conversation.objects.exists()
