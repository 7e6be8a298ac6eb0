"""GET /api/conversations/{id}/messages"""

from typing import Any

import pytest

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, Message
from conversations.tests.factories import make_conversation, make_message, make_reply, make_turns


@pytest.fixture
def conversation(user: UserClient) -> Conversation:
    return make_conversation(user.user_id)


def path(conversation: Conversation) -> str:
    return f"/api/conversations/{conversation.id}/messages"


def contents(page: dict[str, Any]) -> list[str]:
    return [message["content"] for message in page["items"]]


def test_nothing_yet(user: UserClient, conversation: Conversation) -> None:
    assert user.get(path(conversation)).json() == {"items": [], "limit": 50, "next": None}


def test_oldest_first(user: UserClient, conversation: Conversation) -> None:
    make_turns(conversation, 2)
    assert contents(user.get(path(conversation)).json()) == ["question 1", "answer 1", "question 2", "answer 2"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_pages_from_the_newest_to_the_oldest(user: UserClient, conversation: Conversation, limit: int) -> None:
    everything = [message.content for message in make_turns(conversation, 3)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = user.get(path(conversation), {"limit": limit, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["items"]) <= limit == page["limit"]
        seen = contents(page) + seen
        cursor = page["next"]
    assert seen == everything


def test_messages_of_the_same_moment_come_once_and_in_order(user: UserClient, conversation: Conversation) -> None:
    made = [str(make_message(conversation, created_at=conversation.created_at).id) for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = user.get(path(conversation), {"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen = [message["id"] for message in page["items"]] + seen
        cursor = page["next"]
    assert seen == made


def test_messages_without_a_time_come_too(user: UserClient, conversation: Conversation) -> None:
    make_turns(conversation, 2)
    Message.objects.filter(content__startswith="answer").update(created_at=None)
    first = user.get(path(conversation), {"limit": 3}).json()
    second = user.get(path(conversation), {"limit": 3, "cursor": first["next"]}).json()
    assert sorted(contents(first) + contents(second)) == ["answer 1", "answer 2", "question 1", "question 2"]
    assert first["items"][-1]["created_at"] == "2026-11-20T12:00:00Z"


def test_versions(user: UserClient, conversation: Conversation) -> None:
    asked = make_message(conversation, "asked")
    make_reply(asked, "old", is_active=False)
    make_reply(asked, "new")
    assert contents(user.get(path(conversation)).json()) == ["asked", "new"]
    assert contents(user.get(path(conversation), {"versions": "active"}).json()) == ["asked", "new"]
    assert contents(user.get(path(conversation), {"versions": "all"}).json()) == ["asked", "old", "new"]


def test_another_user_s_are_not_there(stranger: UserClient, conversation: Conversation) -> None:
    make_turns(conversation, 1)
    assert stranger.get(path(conversation)).status_code == 404


@pytest.mark.parametrize("turns", [1, 60])
def test_two_queries_however_many(
    user: UserClient, conversation: Conversation, django_assert_num_queries: Any, turns: int
) -> None:
    make_turns(conversation, turns)
    user.get("/api/conversations")
    with django_assert_num_queries(2):
        user.get(path(conversation))
