"""POST /api/conversations"""

from typing import Any

import pytest

from chatapi.tests.clients import UserClient
from conversations.models import Conversation
from conversations.surfaces.conftest import MakeAssistant
from tests.support.client import Client
from tests.support.upstream import ScriptedUpstream

ADDRESS = "/api/conversations"


def test_an_empty_body_is_enough(user: UserClient) -> None:
    response = user.post(ADDRESS)
    created = response.json()
    assert response.status_code == 201
    fields = {"id", "user_id", "title", "model_tag", "is_favorited", "assistant_id", "created_at", "updated_at"}
    assert set(created) == fields | {"running_message_id", "is_archived", "tags", "deleted_at", "forked_from", "name"}
    assert (created["is_archived"], created["tags"]) == (False, [])
    assert created["running_message_id"] is None
    assert (created["title"], created["model_tag"], created["is_favorited"]) == ("New conversation", "default", False)
    assert created["user_id"] == str(user.user_id)
    assert created["created_at"] and created["created_at"] == created["updated_at"]
    assert response["Location"] == f"{ADDRESS}/{created['id']}"


def test_what_is_created_is_there(user: UserClient) -> None:
    created = user.post(ADDRESS, {"title": "  A title 🎈 ", "model_tag": "d32"}).json()
    read = user.get(f"{ADDRESS}/{created['id']}").json()
    assert {**created, "messages": [], "next": None} == read
    assert (read["title"], read["model_tag"]) == ("  A title 🎈 ", "d32")
    assert Conversation.objects.get().title_source == "user"


def test_an_untitled_one_waits_for_its_first_message(user: UserClient) -> None:
    user.post(ADDRESS, {})
    assert Conversation.objects.get().title_source == "default"


@pytest.mark.parametrize("title", ["New chat", " untitled ", "New conversation"])
def test_a_title_that_clients_give_to_unnamed_chats_is_replaced_by_the_first_message(user: UserClient, title: str) -> None:
    created = user.post(ADDRESS, {"title": title}).json()
    assert created["title"] == title
    assert Conversation.objects.get().title_source == "default"


@pytest.mark.parametrize("nothing", [None, "", "  ", "\u200b", "\u2800", "\u3164\u202e"])
def test_no_title_and_no_model_in_other_words(user: UserClient, nothing: str | None) -> None:
    created = user.post(ADDRESS, {"title": nothing, "model_tag": nothing and ""}).json()
    assert (created["title"], created["model_tag"]) == ("New conversation", "default")
    assert Conversation.objects.get().title_source == "default"


@pytest.mark.parametrize("title", ["x", "x" * 500, "🎈" * 500])
def test_titles_of_any_length_up_to_500(user: UserClient, title: str) -> None:
    assert user.post(ADDRESS, {"title": title}).json()["title"] == title


def test_the_owner_cannot_be_chosen(user: UserClient, stranger: UserClient) -> None:
    created = user.post(ADDRESS, {"user_id": str(stranger.user_id), "id": "00000000-0000-7000-8000-000000000000"}).json()
    assert created["user_id"] == str(user.user_id)
    assert created["id"] != "00000000-0000-7000-8000-000000000000"


def test_one_query(user: UserClient, django_assert_num_queries: Any) -> None:
    user.get(ADDRESS)
    with django_assert_num_queries(1):
        user.post(ADDRESS, {"title": "A title"})


def test_a_conversation_with_an_assistant(client: Client, upstream: ScriptedUpstream, make_assistant: MakeAssistant) -> None:
    assistant = make_assistant(system_prompt="Answer in verse.")
    conversation = client.create_conversation(assistant_id=assistant)
    assert client.conversation(conversation)["assistant_id"] == assistant
    client.ask(conversation, "hi")
    assert "Answer in verse." in upstream.generations()[-1].body["messages"][0]["content"]


@pytest.mark.parametrize("wrong", ["0b54ad5e-2f0c-4a7e-9d4e-000000000000", "nonsense"])
def test_a_conversation_with_an_unknown_assistant_is_not_made(client: Client, wrong: str) -> None:
    answer = client.request("POST", "/api/conversations", {"assistant_id": wrong})
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert client.get("/api/conversations")["items"] == []
