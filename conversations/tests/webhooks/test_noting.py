"""Which events are noted: in the transaction that makes them, however it does so."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from conversations.models import Conversation, Message, WebhookEvent
from conversations.services.conversations import delete_conversation, delete_conversations
from conversations.services.history.erase import erase_user
from conversations.services.replies.store import DatabaseReplyStore
from conversations.services.sending.begin import send_turn
from conversations.services.webhooks.outbox import MARK_SQL, discard_all
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_running_reply
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db


def events() -> list[tuple[str, dict[str, Any]]]:
    return list(WebhookEvent.objects.order_by("created_at", "id").values_list("kind", "data"))


def begin(conversation: Conversation) -> Any:
    return send_turn(conversation_id=conversation.id, user_id=USER_ID, content="hi", sampling=Sampling())


@pytest.mark.parametrize("status", ["complete", "stopped", "failed", "interrupted"])
@pytest.mark.usefixtures("noted")
def test_the_end_of_a_reply_is_noted_without_text(status: Any) -> None:
    conversation = make_conversation()
    turn = begin(conversation)
    assert events() == []
    end(turn, status, "a secret answer")
    [(kind, data)] = events()
    assert kind == "reply.ended"
    assert data == {
        "conversation_id": str(conversation.id),
        "message_id": str(turn.reply_id),
        "user_id": str(USER_ID),
        "status": status,
        "error_code": "upstream_error" if status == "failed" else None,
        "model_tag": Message.objects.get(id=turn.reply_id).model_tag,
    }
    assert "secret" not in json.dumps(data)


@pytest.mark.usefixtures("noted")
def test_an_end_that_is_saved_again_is_noted_once() -> None:
    turn = begin(make_conversation())
    end(turn)
    end(turn)
    assert len(events()) == 1


@pytest.mark.usefixtures("noted")
def test_rating_an_interrupted_reply_is_no_end() -> None:
    turn = begin(make_conversation())
    end(turn, "interrupted", "so far")
    Message.objects.filter(id=turn.reply_id).update(feedback=1)
    assert len(events()) == 1


@pytest.mark.usefixtures("noted")
def test_a_guess_and_the_end_that_overwrites_it_are_two_events() -> None:
    reply = make_running_reply(make_message(make_conversation()), "so far")
    DatabaseReplyStore().interrupt([reply.id])
    Message.objects.filter(id=reply.id).update(status="complete")
    assert sorted(data["status"] for _, data in events()) == ["complete", "interrupted"]


def test_nothing_is_noted_without_a_receiver() -> None:
    end(begin(make_conversation()))
    delete_conversations(conversation_ids=[make_conversation().id])
    erase_user(user_id=USER_ID)
    assert events() == []


def test_nothing_is_noted_a_day_after_the_last_process_with_a_receiver() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO webhook_switch VALUES (1, now() - interval '25 hours')")
        cursor.execute(MARK_SQL)
    delete_conversations(conversation_ids=[make_conversation().id])
    erase_user(user_id=USER_ID)
    assert events() == []


@pytest.mark.usefixtures("noted")
def test_events_are_noted_after_a_crash() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM change_era_marks")
    end(begin(make_conversation()))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM change_era_marks")
    _by_sql(make_conversation(user_id=None))
    assert sorted(kind for kind, _ in events()) == ["conversation.deleted", "reply.ended"]


@pytest.mark.usefixtures("noted")
def test_nothing_is_noted_after_all_was_discarded() -> None:
    discard_all()
    make_conversation().delete()
    # The next deletion makes the mark again, and notes nothing either.
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM change_era_marks")
    make_conversation().delete()
    assert events() == []


@pytest.mark.usefixtures("noted")
def test_what_is_rolled_back_is_not_noted() -> None:
    conversation = make_conversation()
    with transaction.atomic():
        Conversation.objects.filter(id=conversation.id).delete()
        assert len(events()) == 1
        transaction.set_rollback(True)
    assert events() == []


def _by_its_user(conversation: Conversation) -> None:
    delete_conversation(conversation_id=conversation.id, user_id=USER_ID)


def _by_staff(conversation: Conversation) -> None:
    delete_conversations(conversation_ids=[conversation.id])


def _by_sql(conversation: Conversation) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM conversations WHERE id = %s", [conversation.id])


@pytest.mark.parametrize("delete", [_by_its_user, _by_staff, _by_sql])
@pytest.mark.usefixtures("noted")
def test_every_way_of_deleting_is_noted(delete: Callable[[Conversation], None]) -> None:
    conversation = make_conversation()
    make_message(conversation)
    delete(conversation)
    assert events() == [
        ("conversation.deleted", {"conversation_id": str(conversation.id), "user_id": str(USER_ID)}),
    ]


@pytest.mark.usefixtures("noted")
def test_the_trash_is_no_deletion_and_its_end_is(settings: Any) -> None:
    settings.TRASH_DAYS = 1
    conversation = make_conversation()
    _by_its_user(conversation)
    assert events() == []
    Conversation.objects.update(deleted_at="2020-01-01T00:00Z", expires_at="2020-01-01T00:00Z")
    call_command("prune_history", "--expired", "--yes")
    assert [kind for kind, _ in events()] == ["conversation.deleted"]


@pytest.mark.usefixtures("noted")
def test_conversations_of_anonymous_callers_are_noted_too() -> None:
    conversation = make_conversation(user_id=None, session_id="s-1")
    _by_sql(conversation)
    assert events() == [("conversation.deleted", {"conversation_id": str(conversation.id), "user_id": None})]


@pytest.mark.usefixtures("noted")
def test_an_erased_user_is_noted_with_each_conversation() -> None:
    first, second = make_conversation(), make_conversation()
    erase_user(user_id=USER_ID)
    told = events()
    assert {data["conversation_id"] for kind, data in told if kind == "conversation.deleted"} == {str(first.id), str(second.id)}
    assert [data for kind, data in told if kind == "user.erased"] == [{"user_id": str(USER_ID)}]


@pytest.mark.usefixtures("noted")
def test_staff_see_what_was_given_up_and_try_it_again(client: Client) -> None:
    dead = WebhookEvent.objects.create(
        kind="user.erased", data={"user_id": str(uuid.uuid4())}, due_at=None, attempts=12, last_failure="status 500"
    )
    waiting = WebhookEvent.objects.create(kind="user.erased", data={}, attempts=1)
    boss = User.objects.create_superuser("boss", password="a long password of the boss")
    client.force_login(boss)
    address = "/admin/conversations/webhookevent/"
    page = client.get(f"{address}?state=dead", secure=True)
    assert (
        page.status_code == 200 and str(dead.id) in page.text and "status 500" in page.text and str(waiting.id) not in page.text
    )
    event = client.get(f"{address}{dead.id}/change/", secure=True)
    for shown in (page, event):
        assert "given up" in shown.text and f"/admin/conversations/chatuser/{dead.data['user_id']}/change/" in shown.text
    assert client.get(f"{address}{waiting.id}/change/", secure=True).status_code == 200
    client.post(address, {"action": "deliver_again", "_selected_action": [str(dead.id), str(waiting.id)]}, secure=True)
    dead.refresh_from_db()
    waiting.refresh_from_db()
    assert dead.due_at is not None and dead.attempts == 0 and waiting.attempts == 1


def test_staff_without_the_permission_can_not_try_again(client: Client) -> None:
    reader = User.objects.create_user("reader", password="a long password of a reader", is_staff=True)
    client.force_login(reader)
    address = "/admin/conversations/webhookevent/"
    assert client.get(address, secure=True).status_code == 403
    dead = WebhookEvent.objects.create(kind="user.erased", data={}, due_at=None, attempts=12)
    reader.user_permissions.add(Permission.objects.get(codename="view_webhookevent"))
    assert client.get(address, secure=True).status_code == 200
    client.post(address, {"action": "deliver_again", "_selected_action": [str(dead.id)]}, secure=True)
    dead.refresh_from_db()
    assert dead.due_at is None
