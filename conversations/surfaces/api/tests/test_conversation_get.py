"""GET /api/conversations/{id}"""

import uuid
from typing import Any

import pytest
from psycopg import Connection

from chatapi.database.round_trips import read_together
from chatapi.tests.clients import UserClient
from conversations.models import QueuedMessage
from conversations.surfaces.api import queries
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply, make_turns

ADDRESS = "/api/conversations"


def contents(conversation: dict[str, Any]) -> list[str]:
    return [message["content"] for message in conversation["messages"]]


def test_the_whole_conversation(user: UserClient) -> None:
    conversation = make_conversation(user.user_id, title="A title")
    make_turns(conversation, 2)
    read = user.get(f"{ADDRESS}/{conversation.id}").json()
    assert (read["id"], read["title"], read["next"]) == (str(conversation.id), "A title", None)
    assert contents(read) == ["question 1", "answer 1", "question 2", "answer 2"]


def test_it_names_its_running_reply(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_turns(conversation, 1)
    path = f"{ADDRESS}/{conversation.id}"
    assert user.get(path).json()["running_message_id"] is None
    reply = make_running_reply(make_message(conversation))
    for query in ({}, {"limit": 1}):
        assert user.get(path, query).json()["running_message_id"] == str(reply.id)
    assert user.patch(path, {"title": "Another"}).json()["running_message_id"] == str(reply.id)


def test_more_than_a_page_is_whole_too(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_turns(conversation, 110)
    assert len(contents(user.get(f"{ADDRESS}/{conversation.id}").json())) == 220


def test_only_the_answer_that_counts(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    asked = make_message(conversation, "asked")
    make_reply(asked, "old", is_active=False)
    make_reply(asked, "new")
    assert contents(user.get(f"{ADDRESS}/{conversation.id}").json()) == ["asked", "new"]


def test_the_newest_messages_and_a_cursor(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_turns(conversation, 2)
    path = f"{ADDRESS}/{conversation.id}"
    newest = user.get(path, {"limit": 3}).json()
    assert contents(newest) == ["answer 1", "question 2", "answer 2"]
    older = user.get(path, {"limit": 3, "cursor": newest["next"]}).json()
    assert (contents(older), older["next"]) == (["question 1"], None)
    by_messages = user.get(f"{path}/messages", {"limit": 3, "cursor": newest["next"]}).json()
    assert [message["content"] for message in by_messages["items"]] == ["question 1"]


def test_ids_may_be_in_capitals(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    assert user.get(f"{ADDRESS}/{str(conversation.id).upper()}").status_code == 200


@pytest.mark.parametrize("whose", ["stranger", "anonymous", "nobody"])
def test_what_is_not_one_s_own_is_not_there(user: UserClient, stranger: UserClient, whose: str) -> None:
    owner = {"stranger": stranger.user_id, "anonymous": None}.get(whose, user.user_id)
    found_id = uuid.uuid4() if whose == "nobody" else make_conversation(owner).id
    response = user.get(f"{ADDRESS}/{found_id}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_one_round_trip(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = make_conversation(user.user_id)
    make_turns(conversation, 2)
    path = f"{ADDRESS}/{conversation.id}"
    user.get(path)
    waits: list[Any] = []
    wait = Connection.wait
    monkeypatch.setattr(Connection, "wait", lambda self, *given, **named: waits.append(given) or wait(self, *given, **named))
    assert len(contents(user.get(path).json())) == 4
    assert len(waits) == 1


def test_no_message_of_somebody_else_is_read(user: UserClient) -> None:
    conversation = make_conversation(uuid.uuid4())
    make_turns(conversation, 1)
    assert user.get(f"{ADDRESS}/{conversation.id}").status_code == 404
    assert queries._newest_messages(conversation_id=conversation.id, user_id=user.user_id) == []
    assert len(queries._newest_messages(conversation_id=conversation.id, user_id=conversation.user_id)) == 2


@pytest.mark.parametrize("case", ["no message", "short", "versions", "long", "many", "same time", "queued", "running beside"])
def test_short_conversations_are_read_as_others_are(user: UserClient, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    conversation = make_conversation(user.user_id, title="A title", tags=["one"])
    if case != "no message":
        make_turns(conversation, 70 if case == "many" else 2)
    if case in ("versions", "running beside"):
        asked = make_message(conversation, "asked")
        make_reply(asked, "old", has_versions=True)
        beside = make_running_reply if case == "running beside" else make_reply
        beside(asked, is_active=False, has_versions=True)
    if case == "long":
        make_message(conversation, "long" * 20_000)
    if case == "same time":
        moment = make_message(conversation, "one").created_at
        make_message(conversation, "other", created_at=moment)
    if case == "queued":
        ids = {"id": uuid.uuid4(), "reply_id": uuid.uuid4()}
        QueuedMessage.objects.create(**ids, conversation=conversation, place=1, content="waits", request={})
    [rows] = read_together(queries._short_messages.statement(conversation.id))
    read = queries._short_messages.read(conversation.id, rows)
    assert (read is None) == (case in ("long", "many", "same time"))
    path = f"{ADDRESS}/{conversation.id}"
    shown = user.get(path).content
    monkeypatch.setattr(queries._short_messages, "read", lambda *_: None)
    assert user.get(path).content == shown


@pytest.mark.parametrize("turns", [1, 40])
def test_two_queries_in_one_round_trip_however_many(user: UserClient, django_assert_num_queries: Any, turns: int) -> None:
    conversation = make_conversation(user.user_id)
    make_turns(conversation, turns)
    user.get(ADDRESS)
    with django_assert_num_queries(2):
        user.get(f"{ADDRESS}/{conversation.id}")
