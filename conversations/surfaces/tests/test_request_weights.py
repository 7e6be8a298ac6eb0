"""What one user may write per minute: a request that stores or changes much counts as several."""

from base64 import b64encode
from random import Random
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from chatapi.environment import Rate
from chatapi.tests.clients import UserClient
from conversations.exceptions import ConversationNotFound
from conversations.models import Conversation, Message, Role
from conversations.surfaces.openai import asking
from conversations.surfaces.request_weights import BYTES_PER_SEND, CONVERSATIONS_PER_READ, MESSAGES_PER_SEND
from conversations.tests.factories import make_conversation, make_message, make_reply

pytestmark = pytest.mark.django_db
LONG = "x" * BYTES_PER_SEND


def make_branch(user: UserClient, *contents: str) -> Conversation:
    conversation = make_conversation(user.user_id)
    Message.objects.bulk_create(
        Message(conversation_id=conversation.id, role=Role.USER, content=content) for content in contents
    )
    return conversation


@pytest.mark.parametrize(
    ("contents", "sends"), [(["short"], 1), (["short"] * 2 * MESSAGES_PER_SEND, 3), ([LONG], 2), ([LONG, LONG, LONG], 4)]
)
def test_a_fork_counts_by_what_it_copies(user: UserClient, settings: Settings, contents: list[str], sends: int) -> None:
    conversation = make_branch(user, *contents)
    settings.THROTTLE_SEND = Rate(10, 3600)
    made = user.post(f"/api/conversations/{conversation.id}/fork", {})
    assert made.status_code == 201
    assert made["RateLimit-Remaining"] == str(10 - sends)


def test_a_fork_over_the_limit_copies_nothing(user: UserClient, settings: Settings) -> None:
    conversation = make_branch(user, LONG, LONG)
    settings.THROTTLE_SEND = Rate(5, 3600)
    statuses = [user.post(f"/api/conversations/{conversation.id}/fork", {}).status_code for _ in range(3)]
    assert statuses == [201, 429, 429]
    assert Conversation.objects.count() == 2


@pytest.mark.parametrize(("contents", "sends"), [(["short"] * 4, 1), (["short"] * 20, 2), ([LONG[:8000]] * 18, 3)])
def test_a_completion_counts_by_the_history_that_it_brings(
    user: UserClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, contents: list[str], sends: int
) -> None:
    def begin(*_: object, **__: object) -> Any:
        raise ConversationNotFound

    monkeypatch.setattr(asking, "_begin", begin)
    settings.THROTTLE_SEND = Rate(10, 3600)
    history = [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(contents)]
    body = {"model": "tiny", "messages": [*history, {"role": "user", "content": "and now?"}]}
    answer = user.post("/v1/chat/completions", body)
    assert answer.status_code == 404
    assert answer["RateLimit-Remaining"] == str(10 - sends)


def calling(*arguments: str) -> dict[str, Any]:
    """Return an answer that calls a tool, as a chat completion brings it."""
    calls = [
        {"id": f"call-{place}", "type": "function", "function": {"name": "look", "arguments": written}}
        for place, written in enumerate(arguments)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


BROUGHT = {
    "calls": ([{"role": "user", "content": "hi"}, calling(LONG, LONG)], 3),
    "outputs": ([calling("{}"), {"role": "tool", "tool_call_id": "call-0", "content": LONG}], 2),
    "system prompts": ([{"role": "system", "content": LONG[:8000]}] * 25, 4),
    "short calls": ([{"role": "user", "content": "hi"}, calling("{}", "{}")], 1),
}


@pytest.mark.parametrize("brought", BROUGHT)
def test_a_completion_counts_by_all_that_is_stored(
    user: UserClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, brought: str
) -> None:
    def begin(*_: object, **__: object) -> Any:
        raise ConversationNotFound

    monkeypatch.setattr(asking, "_begin", begin)
    settings.THROTTLE_SEND = Rate(10, 3600)
    messages, sends = BROUGHT[brought]
    answer = user.post("/v1/chat/completions", {"messages": [*messages, {"role": "user", "content": "and now?"}]})
    assert answer.status_code == 404
    assert answer["RateLimit-Remaining"] == str(10 - sends)


def function_call(arguments: str) -> dict[str, str]:
    return {"type": "function_call", "call_id": "call-0", "name": "look", "arguments": arguments}


@pytest.mark.parametrize(("arguments", "sends"), [("{}", 2), (LONG, 3)])
def test_a_response_counts_by_what_its_calls_say(
    user: UserClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, arguments: str, sends: int
) -> None:
    def begin(*_: object, **__: object) -> Any:
        raise ConversationNotFound

    monkeypatch.setattr(asking, "_begin", begin)
    settings.THROTTLE_SEND = Rate(10, 3600)
    brought = [function_call(arguments)] * (1 if arguments == "{}" else 2)
    answer = user.post("/v1/responses", {"input": [*brought, {"role": "user", "content": "and now?"}]})
    assert answer.status_code == 404
    assert answer["RateLimit-Remaining"] == str(10 - sends)


@pytest.mark.parametrize(("arguments", "sends"), [("{}", 1), (LONG, 2)])
def test_items_count_by_what_their_calls_say(user: UserClient, settings: Settings, arguments: str, sends: int) -> None:
    settings.THROTTLE_SEND = Rate(10, 3600)
    made = user.post("/v1/conversations", {"items": [function_call(arguments)]})
    assert (made.status_code, made["RateLimit-Remaining"]) == (200, str(10 - sends))
    added = user.post(f"/v1/conversations/{made.json()['id']}/items", {"items": [function_call(arguments)]})
    assert (added.status_code, added["RateLimit-Remaining"]) == (200, str(10 - 2 * sends))


@pytest.mark.parametrize(("output", "sends"), [("short", 1), (LONG[:60_000], 3)])
def test_a_question_counts_by_the_outputs_that_it_brings(
    user: UserClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, output: str, sends: int
) -> None:
    def begin(*_: object, **__: object) -> Any:
        raise ConversationNotFound

    monkeypatch.setattr("conversations.surfaces.ai_sdk.views.begin_turn", begin)
    settings.THROTTLE_SEND = Rate(10, 3600)
    asked = make_message(make_conversation(user.user_id))
    names = [f"call-{number}" for number in range(3)]
    calls = [{"id": name, "name": "look", "arguments": "{}"} for name in names]
    answer = make_reply(asked, tool_calls=calls)
    outputs = [{"type": "tool-look", "toolCallId": name, "state": "output-available", "output": output} for name in names]
    shown = [
        {"id": str(asked.id), "role": "user", "parts": []},
        {"id": str(answer.id), "role": "assistant", "parts": outputs},
        {"id": "q2", "role": "user", "parts": [{"type": "text", "text": "and now?"}]},
    ]
    sent = user.post("/api/chat", {"id": str(asked.conversation_id), "messages": shown, "trigger": "submit-message"})
    assert (sent.status_code, sent["RateLimit-Remaining"]) == (404, str(10 - sends))


def test_a_fork_counts_the_calls_that_it_copies(user: UserClient, settings: Settings) -> None:
    # Bytes that can't be compressed: what is stored counts.
    arguments = b64encode(Random(7).randbytes(4 * BYTES_PER_SEND)).decode()
    conversation = make_conversation(user.user_id)
    Message.objects.create(
        conversation_id=conversation.id, role=Role.ASSISTANT, tool_calls=[{"id": "a", "name": "b", "arguments": arguments}]
    )
    settings.THROTTLE_SEND = Rate(10, 3600)
    made = user.post(f"/api/conversations/{conversation.id}/fork", {})
    assert (made.status_code, int(made["RateLimit-Remaining"]) <= 10 - 5) == (201, True)


@pytest.mark.parametrize("action", ["archive", "tag", "delete"])
def test_a_change_of_many_counts_by_their_number(user: UserClient, settings: Settings, action: str) -> None:
    for _ in range(2 * CONVERSATIONS_PER_READ):
        make_conversation(user.user_id)
    settings.THROTTLE_READ = Rate(10, 3600)
    tags = {"tags": ["work"]} if action == "tag" else {}
    changed = user.post("/api/conversations/bulk", {"action": action, "all": True, **tags})
    assert (changed.status_code, changed.json()["changed"]) == (200, 2 * CONVERSATIONS_PER_READ)
    # What is deleted can't be deleted again.
    assert changed["RateLimit-Remaining"] == ("9" if action == "delete" else "7")


def test_a_change_of_named_ones_counts_by_their_number(user: UserClient, settings: Settings) -> None:
    settings.THROTTLE_READ = Rate(3, 3600)
    ids = [str(make_conversation(user.user_id).id) for _ in range(CONVERSATIONS_PER_READ)]
    statuses = [
        user.post("/api/conversations/bulk", {"action": action, "ids": ids}).status_code for action in ("archive", "unarchive")
    ]
    assert statuses == [200, 429]
    assert Conversation.objects.filter(is_archived=True).count() == len(ids)
