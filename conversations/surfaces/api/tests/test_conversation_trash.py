"""The trash: DELETE and POST /api/conversations/{id}/restore, ?deleted=true, DELETE /api/conversations"""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, Message
from conversations.services.history.pruning.prune import PruneCriteria, prune_history
from conversations.services.sessions import _create_session
from conversations.tests.factories import NOON, make_conversation, make_message, make_reply

ADDRESS = "/api/conversations"


@pytest.fixture
def trash(settings: Any) -> None:
    settings.TRASH_DAYS = 30


def titles(user: UserClient, **params: Any) -> list[str]:
    return sorted(item["title"] for item in user.get(ADDRESS, params).json()["items"])


@pytest.mark.usefixtures("trash")
def test_what_is_deleted_can_be_restored(user: UserClient) -> None:
    conversation = make_conversation(user.user_id, title="Tea", is_archived=False)
    reply = make_reply(make_message(conversation, "bergamot"))
    address = f"{ADDRESS}/{conversation.id}"
    assert user.delete(address).status_code == 204
    assert titles(user) == []
    (item,) = user.get(ADDRESS, {"deleted": "true"}).json()["items"]
    assert (item["title"], item["deleted_at"] is None, item["updated_at"]) == ("Tea", False, "2026-11-20T12:00:00Z")
    restored = user.post(f"{address}/restore")
    assert (restored.status_code, restored.json()["deleted_at"]) == (200, None)
    assert titles(user) == ["Tea"]
    assert titles(user, deleted="true") == []
    assert [message["id"] for message in user.get(address).json()["messages"]][1] == str(reply.id)
    assert user.post(f"{address}/restore").json() == restored.json()
    conversation.refresh_from_db()
    assert (conversation.updated_at, conversation.expires_at) == (NOON, None)


@pytest.mark.usefixtures("trash")
def test_it_is_gone_for_everything_else(user: UserClient, stranger: UserClient) -> None:
    conversation = make_conversation(user.user_id, session_id="kitchen")
    reply = make_reply(make_message(conversation, "bergamot"))
    address = f"{ADDRESS}/{conversation.id}"
    user.delete(address)
    answers = [
        user.get(address),
        user.patch(address, {"title": "x"}),
        user.delete(address),
        user.post(f"{address}/messages", {"content": "hello"}),
        user.post(f"{address}/stop"),
        user.get(f"{address}/messages"),
        user.get(f"{address}/messages/{reply.id}"),
        user.get(f"{address}/messages/{reply.id}/stream"),
        user.get(f"/conversations/{conversation.id}"),
        user.get("/api/v1/chat/kitchen/history"),
        user.get("/api/chat/kitchen"),
        stranger.post(f"{address}/restore"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert user.get("/api/search", {"q": "bergamot"}).json()["items"] == []
    assert titles(stranger, deleted="true") == []


@pytest.mark.usefixtures("trash")
def test_it_is_pruned_after_its_time(user: UserClient) -> None:
    now = timezone.now()
    for title, days in (("new", 29), ("old", 31)):
        at = now - timedelta(days=days)
        make_message(make_conversation(user.user_id, title=title, deleted_at=at, expires_at=at))
    make_conversation(user.user_id, title="temporary", expires_at=now - timedelta(minutes=1))
    assert titles(user, deleted="true") == ["new"]
    old = Conversation.objects.get(title="old")
    assert user.post(f"{ADDRESS}/{old.id}/restore").status_code == 404
    prune_history(criteria=PruneCriteria(is_expired=True))
    assert [one.title for one in Conversation.objects.all()] == ["new"]
    assert Message.objects.count() == 1


@pytest.mark.usefixtures("trash")
def test_a_session_that_begins_anew_leaves_the_old_one_in_the_trash(user: UserClient) -> None:
    old = make_conversation(user.user_id, title="old", session_id="kitchen")
    make_message(old)
    user.delete(f"{ADDRESS}/{old.id}")
    assert _create_session("kitchen", user.user_id, None) != old.id
    assert titles(user, deleted="true") == ["old"]
    user.post(f"{ADDRESS}/{old.id}/restore")
    assert titles(user) == ["New conversation", "old"]


def test_without_a_trash_deletion_is_final(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    user.delete(f"{ADDRESS}/{conversation.id}")
    assert not Conversation.objects.exists()
    assert titles(user, deleted="true") == []
    assert user.post(f"{ADDRESS}/{conversation.id}/restore").status_code == 404


@pytest.mark.usefixtures("trash")
@pytest.mark.parametrize(
    "fields", [{"is_listed": False}, {"expires_at": timezone.now() + timedelta(hours=9)}], ids=["unlisted", "temporary"]
)
def test_what_is_in_no_list_is_deleted_for_good(user: UserClient, fields: dict[str, Any]) -> None:
    conversation = make_conversation(user.user_id, **fields)
    assert user.delete(f"{ADDRESS}/{conversation.id}").status_code == 204
    assert not Conversation.objects.exists()


@pytest.mark.usefixtures("trash")
def test_many_are_deleted_and_restored(user: UserClient) -> None:
    made = [make_conversation(user.user_id, title=str(number)) for number in range(3)]
    ids = [str(one.id) for one in made]
    assert user.post(f"{ADDRESS}/bulk", {"action": "delete", "ids": ids}).json()["changed"] == 3
    assert titles(user, deleted="true") == ["0", "1", "2"]
    answer = user.post(f"{ADDRESS}/bulk", {"action": "restore", "ids": ids[:1]}).json()
    assert (answer["changed"], answer["left_out"]) == (1, [])
    answer = user.post(f"{ADDRESS}/bulk", {"action": "restore", "ids": ids[:2]}).json()
    assert (answer["changed"], answer["unchanged"]) == (1, 1)
    assert user.post(f"{ADDRESS}/bulk", {"action": "archive", "ids": ids[2:]}).json()["left_out_count"] == 1
    assert user.post(f"{ADDRESS}/bulk", {"action": "restore", "all": True}).json()["changed"] == 1
    assert titles(user) == ["0", "1", "2"]


@pytest.mark.parametrize("days", [0, 30])
def test_deleting_all_must_be_confirmed(user: UserClient, stranger: UserClient, settings: Any, days: int) -> None:
    settings.TRASH_DAYS = days
    make_conversation(user.user_id, title="shown")
    make_conversation(user.user_id, title="archived", is_archived=True)
    make_conversation(stranger.user_id, title="theirs")
    for params in ("", "?confirm=yes", "?confirm="):
        refused = user.delete(f"{ADDRESS}{params}")
        assert (refused.status_code, list(refused.json()["fields"])) == (400, ["confirm"])
    assert Conversation.objects.filter(deleted_at=None).count() == 3
    answer = user.delete(f"{ADDRESS}?confirm=all")
    assert (answer.status_code, answer.json()["changed"], answer.json()["next"]) == (200, 2, None)
    assert [one.title for one in Conversation.objects.filter(deleted_at=None)] == ["theirs"]
    assert titles(user, deleted="true") == (["archived", "shown"] if days else [])


@pytest.mark.usefixtures("trash")
def test_the_trash_has_no_other_filters(user: UserClient) -> None:
    refused = user.get(ADDRESS, {"deleted": "true", "tag": "x"})
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["tag"])
    assert user.get(ADDRESS, {"deleted": "maybe"}).status_code == 400
