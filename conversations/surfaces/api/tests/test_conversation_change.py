"""PUT and PATCH /api/conversations/{id}"""

from typing import Any

import pytest

from chatapi.tests.clients import UserClient
from conversations.models import Conversation
from conversations.tests.factories import NOON, make_conversation

ADDRESS = "/api/conversations"


@pytest.fixture
def conversation(user: UserClient) -> Conversation:
    return make_conversation(user.user_id, title="Before", model_tag="d20")


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({"title": "After"}, ("After", "d20", False)),
        ({"model_tag": "d32"}, ("Before", "d32", False)),
        ({"is_favorited": True}, ("Before", "d20", True)),
        ({"title": "After", "model_tag": "d32", "is_favorited": True}, ("After", "d32", True)),
        ({}, ("Before", "d20", False)),
    ],
)
def test_patch_changes_what_it_names(
    user: UserClient, conversation: Conversation, changes: dict[str, Any], after: tuple[Any, ...]
) -> None:
    response = user.patch(f"{ADDRESS}/{conversation.id}", changes)
    assert response.status_code == 200
    assert tuple(response.json()[name] for name in ("title", "model_tag", "is_favorited")) == after
    conversation.refresh_from_db()
    assert (conversation.title, conversation.model_tag, conversation.is_favorited) == after


def test_put_needs_a_title(user: UserClient, conversation: Conversation) -> None:
    path = f"{ADDRESS}/{conversation.id}"
    response = user.put(path, {"is_favorited": True})
    assert (response.status_code, list(response.json()["fields"])) == (400, ["title"])
    assert user.put(path, {"title": "After", "is_favorited": True}).json()["title"] == "After"


def test_a_given_title_is_the_user_s(user: UserClient, conversation: Conversation) -> None:
    user.patch(f"{ADDRESS}/{conversation.id}", {"is_favorited": True})
    conversation.refresh_from_db()
    assert conversation.title_source == "default"
    user.patch(f"{ADDRESS}/{conversation.id}", {"title": "New conversation"})
    conversation.refresh_from_db()
    assert conversation.title_source == "user"


def test_a_change_is_no_activity(user: UserClient, conversation: Conversation) -> None:
    user.patch(f"{ADDRESS}/{conversation.id}", {"title": "After"})
    conversation.refresh_from_db()
    assert conversation.updated_at == NOON


def test_what_cannot_be_changed_stays(user: UserClient, stranger: UserClient, conversation: Conversation) -> None:
    changes = {"user_id": str(stranger.user_id), "id": str(stranger.user_id), "updated_at": "2020-01-01T00:00:00Z"}
    assert user.patch(f"{ADDRESS}/{conversation.id}", changes).status_code == 200
    conversation.refresh_from_db()
    assert (conversation.user_id, conversation.updated_at) == (user.user_id, NOON)


@pytest.mark.parametrize("method", ["put", "patch"])
def test_another_user_s_conversation_stays_as_it_is(stranger: UserClient, conversation: Conversation, method: str) -> None:
    response = getattr(stranger, method)(f"{ADDRESS}/{conversation.id}", {"title": "Mine now"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    conversation.refresh_from_db()
    assert conversation.title == "Before"


def test_one_query(user: UserClient, conversation: Conversation, django_assert_num_queries: Any) -> None:
    user.get(ADDRESS)
    with django_assert_num_queries(1):
        user.patch(f"{ADDRESS}/{conversation.id}", {"title": "After"})
