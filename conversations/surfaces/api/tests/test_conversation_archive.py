"""`is_archived`: POST, PATCH and GET /api/conversations"""

import uuid
from typing import Any

import pytest
from django.db import connection

from chatapi.tests.clients import UserClient
from conversations.models import Conversation
from conversations.tests.factories import NOON, make_conversation, make_message
from tests.support.client import Client

ADDRESS = "/api/conversations"


def titles(user: UserClient, **params: Any) -> list[str]:
    return [item["title"] for item in user.get(ADDRESS, params).json()["items"]]


def test_an_archived_one_is_only_in_the_list_of_archived_ones(user: UserClient) -> None:
    conversation = make_conversation(user.user_id, title="old")
    make_conversation(user.user_id, title="new")
    changed = user.patch(f"{ADDRESS}/{conversation.id}", {"is_archived": True})
    assert (changed.status_code, changed.json()["is_archived"]) == (200, True)
    assert titles(user) == titles(user, archived="false") == ["new"]
    assert titles(user, archived="true") == ["old"]
    user.patch(f"{ADDRESS}/{conversation.id}", {"is_archived": False})
    assert titles(user, archived="true") == []
    assert sorted(titles(user)) == ["new", "old"]


def test_archiving_is_no_activity(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    user.patch(f"{ADDRESS}/{conversation.id}", {"is_archived": True})
    conversation.refresh_from_db()
    assert (conversation.is_archived, conversation.updated_at) == (True, NOON)


def test_an_archived_one_can_be_created_and_read(user: UserClient) -> None:
    created = user.post(ADDRESS, {"title": "kept", "is_archived": True}).json()
    assert created["is_archived"] is True
    assert user.get(f"{ADDRESS}/{created['id']}").json()["is_archived"] is True
    assert titles(user) == []


def test_favourites_and_titles_among_archived_ones(user: UserClient) -> None:
    for title, favourite, archived in (("tea", True, True), ("tea shop", False, True), ("tea pot", True, False)):
        make_conversation(user.user_id, title=title, is_favorited=favourite, is_archived=archived)
    assert titles(user, archived="true", favorited="true") == ["tea"]
    assert titles(user, favorited="true") == ["tea pot"]
    assert sorted(titles(user, archived="true", q="TEA")) == ["tea", "tea shop"]


def test_pages_of_archived_ones(user: UserClient) -> None:
    for number in range(5):
        make_conversation(user.user_id, title=str(number), is_archived=True)
    seen, cursor = [], None
    while True:
        page = user.get(ADDRESS, {"archived": "true", "limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["title"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert sorted(seen) == list("01234")


def test_search_finds_it(user: UserClient) -> None:
    conversation = make_conversation(user.user_id, is_archived=True)
    make_message(conversation, "bergamot")
    hits = user.get("/api/search", {"q": "bergamot"}).json()["items"]
    assert [hit["conversation_id"] for hit in hits] == [str(conversation.id)]


def test_other_lists_leave_it_out(user: UserClient) -> None:
    make_conversation(user.user_id, title="old", is_archived=True)
    new = make_conversation(user.user_id, title="new")
    for address in ("/conversations", "/conversation"):
        assert str(new.id) in (text := user.get(address).content.decode())
        assert "old" not in text


def test_a_send_leaves_it_archived(client: Client, conversation: str) -> None:
    address = f"{ADDRESS}/{conversation}"
    client.request("PATCH", address, {"is_archived": True})
    assert client.request("POST", f"{address}/messages", {"content": "hello", "stream": False}).status == 200
    assert client.get(address)["is_archived"] is True
    assert len(client.get(address)["messages"]) == 2


@pytest.mark.parametrize("value", ["true", 1, None, []])
def test_only_true_and_false(user: UserClient, value: Any) -> None:
    conversation = make_conversation(user.user_id)
    refused = user.patch(f"{ADDRESS}/{conversation.id}", {"is_archived": value, "title": "changed"})
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["is_archived"])
    assert user.get(ADDRESS, {"archived": "yes"}).json()["code"] == "invalid"
    assert titles(user) == ["New conversation"]


@pytest.mark.parametrize(
    ("is_archived", "index"), [(False, "idx_conversations_unarchived"), (True, "idx_conversations_archived")]
)
def test_each_list_has_its_index(user: UserClient, is_archived: bool, index: str) -> None:
    others = [Conversation(user_id=uuid.uuid4(), updated_at=NOON, is_archived=number % 2 == 0) for number in range(2000)]
    own = [Conversation(user_id=user.user_id, updated_at=NOON, is_archived=number % 2 == 0) for number in range(40)]
    Conversation.objects.bulk_create([*others, *own])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE conversations")
        cursor.execute("SET LOCAL enable_seqscan = off")
    rows = Conversation.objects.owned_by(user.user_id).in_list(is_archived=is_archived).newest_activity_first()[:50]
    assert index in rows.explain()
