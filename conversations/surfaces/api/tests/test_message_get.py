"""GET /api/conversations/{id}/messages/{mid}"""

import uuid
from typing import Any

import pytest

from chatapi.tests.clients import UserClient
from conversations.models import Message
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply
from tests.support.client import Client


def path(message: Message, conversation_id: Any = None, message_id: Any = None) -> str:
    return f"/api/conversations/{conversation_id or message.conversation_id}/messages/{message_id or message.id}"


@pytest.fixture
def asked(user: UserClient) -> Message:
    return make_message(make_conversation(user.user_id), "asked")


def test_a_question(user: UserClient, asked: Message) -> None:
    expected = {
        "id": str(asked.id),
        "conversation_id": str(asked.conversation_id),
        "role": "user",
        "content": "asked",
        "token_count": 0,
        "model_tag": "",
        "inference_time_ms": 0,
        "created_at": "2026-11-20T12:00:00Z",
        "status": "complete",
        "parent_id": None,
        "is_active": True,
        "error_code": None,
        "feedback": None,
    }
    read = user.get(path(asked)).json()
    assert {name: read[name] for name in expected} == expected


def test_an_answer(user: UserClient, asked: Message) -> None:
    reply = make_reply(
        asked, "half", status="failed", error_code="upstream_error", token_count=3, inference_time_ms=41, feedback=-1
    )
    read = user.get(path(reply)).json()
    assert (read["role"], read["parent_id"], read["status"], read["error_code"]) == (
        "assistant",
        str(asked.id),
        "failed",
        "upstream_error",
    )
    assert (read["token_count"], read["inference_time_ms"], read["model_tag"], read["feedback"]) == (3, 41, "default", -1)


def test_a_running_reply_as_far_as_it_was_saved(user: UserClient, asked: Message) -> None:
    read = user.get(path(make_running_reply(asked, "so far"))).json()
    assert (read["status"], read["content"]) == ("streaming", "so far")


def test_an_answer_that_does_not_count_is_there(user: UserClient, asked: Message) -> None:
    assert user.get(path(make_reply(asked, "old", is_active=False))).json()["is_active"] is False


def test_a_message_of_another_conversation_is_not_there(user: UserClient, asked: Message) -> None:
    other = make_conversation(user.user_id)
    assert user.get(path(asked, conversation_id=other.id)).status_code == 404


@pytest.mark.parametrize("message_id", ["nonsense", uuid.uuid4()])
def test_an_unknown_message(user: UserClient, asked: Message, message_id: Any) -> None:
    response = user.get(path(asked, message_id=message_id))
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_another_user_s_is_not_there(stranger: UserClient, asked: Message) -> None:
    assert stranger.get(path(asked)).status_code == 404


def test_two_queries(user: UserClient, asked: Message, django_assert_num_queries: Any) -> None:
    user.get("/api/conversations")
    with django_assert_num_queries(2):
        user.get(path(asked))


def test_a_message_tells_what_the_model_saw(client: Client, conversation: str) -> None:
    stream = client.ask(conversation, "hello")
    context = client.message(conversation, stream.message_id)["context"]
    assert context == {"messages": 1, "characters": 5, "left_out": 0, "reason": None}
    assert client.message(conversation, stream.headers["X-User-Message-Id"])["context"] is None
    assert "context" not in client.messages(conversation)[0]
