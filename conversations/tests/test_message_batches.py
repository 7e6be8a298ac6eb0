"""Batches of messages are bounded in bytes, not only in rows."""

import uuid
from typing import Any

import orjson
import pytest

from chatapi.tests.clients import UserClient
from conversations import message_batches
from conversations.models import Conversation, Message
from conversations.services.staff.export_selection import export_conversations
from conversations.tests.factories import make_conversation, make_message, make_turns

pytestmark = pytest.mark.django_db
KIB = 1024


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten KiB are a batch."""
    monkeypatch.setattr(message_batches, "MAX_BATCH_BYTES", 10 * KIB)
    monkeypatch.setattr("conversations.surfaces.completion.queries.MAX_BATCH_BYTES", 10 * KIB)
    # The SQL is built once and holds the limit: forget what an earlier test has built, and what this one will.
    of_api = ("api.queries._newest_messages", "api.queries._active_messages")
    for name in (*of_api, "contract.queries._message_page", "sessions.queries._history"):
        monkeypatch.setattr(f"conversations.surfaces.{name}._built", {})


@pytest.fixture
def conversation(user: UserClient) -> Conversation:
    """Five messages of four KiB: two fit a batch."""
    found = make_conversation(user.user_id, session_id="long")
    for number in range(5):
        make_message(found, f"{number}" * 4 * KIB)
    return found


def numbers(messages: list[dict[str, Any]], name: str = "content") -> list[str]:
    assert all(set(message[name]) == {message[name][0]} for message in messages)
    return [message[name][0] for message in messages]


@pytest.mark.parametrize("params", [{}, {"limit": "100"}])
def test_a_conversation_is_read_in_pages(user: UserClient, conversation: Conversation, params: dict[str, str]) -> None:
    pages, cursor = [], None
    while not pages or cursor:
        answer = user.get(f"/api/conversations/{conversation.id}", params | ({"cursor": cursor} if cursor else {})).json()
        pages.append(numbers(answer["messages"]))
        cursor = answer["next"]
    assert pages == [["3", "4"], ["1", "2"], ["0"]]


def test_a_page_of_messages_ends_early(user: UserClient, conversation: Conversation) -> None:
    answer = user.get(f"/api/conversations/{conversation.id}/messages").json()
    assert numbers(answer["items"]) == ["3", "4"]
    older = user.get(f"/api/conversations/{conversation.id}/messages", {"cursor": answer["next"]}).json()
    assert numbers(older["items"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("address", "name", "pages"),
    [
        ("/conversations/{}/messages", "content", [["0", "1"], ["2", "3"], ["4"]]),
        ("/api/v1/chat/long/history", "text", [["3", "4"], ["1", "2"], ["0"]]),
    ],
)
def test_links_lead_through_the_pages_of_other_surfaces(
    user: UserClient, conversation: Conversation, address: str, name: str, pages: list[list[str]]
) -> None:
    found, path = [], address.format(conversation.id)
    while path:
        response = user.get(path)
        messages = response.json() if isinstance(response.json(), list) else response.json()["messages"]
        found.append(numbers(messages, name))
        path = response.headers.get("Link", "").partition(">")[0][1:]
    assert found == pages


def test_a_message_that_exceeds_every_budget_comes_alone(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_message(conversation, "a" * 5 * KIB)
    make_message(conversation, "b" * 50 * KIB)
    newest = user.get(f"/api/conversations/{conversation.id}").json()
    assert numbers(newest["messages"]) == ["b"]
    older = user.get(f"/api/conversations/{conversation.id}", {"cursor": newest["next"]}).json()
    assert (numbers(older["messages"]), older["next"]) == (["a"], None)


def test_a_list_of_conversations_with_messages_ends_before_the_one_that_does_not_fit(user: UserClient) -> None:
    small = [make_conversation(user.user_id) for _ in range(2)]
    for conversation in small:
        make_message(conversation, "s" * 4 * KIB)
    large = make_conversation(user.user_id)
    for _ in range(5):
        make_message(large, "l" * 4 * KIB)
    # Newest activity first; equal times are ordered by id.
    Conversation.objects.filter(id=large.id).update(updated_at=None)
    first = user.get("/conversation")
    assert [(item["id"], len(item["messages"])) for item in first.json()] == [(str(large.id), 2)]
    second = user.get(first.headers["Link"].partition(">")[0][1:])
    assert {item["id"]: len(item["messages"]) for item in second.json()} == {str(each.id): 1 for each in small}
    assert "Link" not in second.headers


def test_a_staff_export_reads_in_batches_and_leaves_nothing_out(conversation: Conversation) -> None:
    chunks = list(export_conversations(conversation_ids=[conversation.id], export_format="jsonl"))
    lines = [orjson.loads(line)["message"] for chunk in chunks for line in chunk.splitlines()]
    assert numbers(lines) == ["0", "1", "2", "3", "4"]
    assert max(len(chunk) for chunk in chunks) < 15 * KIB


def test_what_does_not_fit_is_not_read(conversation: Conversation) -> None:
    rows = list(message_batches.select_batch(Message.objects.filter(conversation=conversation), ("id", "content"), 100))
    assert [row["content_read"] is None for row in rows] == [False, False, True, True, True]


def test_ordinary_conversations_are_one_page(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_turns(conversation, 3)
    answer = user.get(f"/api/conversations/{conversation.id}").json()
    assert (len(answer["messages"]), answer["next"]) == (6, None)


def test_a_conversation_without_limit_has_a_thousand_messages(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = make_conversation(user.user_id)
    Message.objects.bulk_create(
        Message(id=uuid.uuid4(), conversation=conversation, role="user", content=str(number)) for number in range(1010)
    )
    answer = user.get(f"/api/conversations/{conversation.id}").json()
    assert len(answer["messages"]) == 1000
    older = user.get(f"/api/conversations/{conversation.id}", {"cursor": answer["next"]}).json()
    assert (len(older["messages"]), older["next"]) == (10, None)


def test_reasoning_counts_where_it_is_read(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    for number in range(3):
        make_message(conversation, f"{number}", reasoning=f"{number}" * 4 * KIB)
    answer = user.get(f"/api/conversations/{conversation.id}").json()
    assert numbers(answer["messages"]) == numbers(answer["messages"], "reasoning") == ["1", "2"]
    # The contract surface shows no reasoning.
    assert numbers(user.get(f"/conversations/{conversation.id}/messages").json()) == ["0", "1", "2"]
