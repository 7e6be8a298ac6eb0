"""What clients see of rows without a time that they can read: a plausible time, the same everywhere."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, Message
from conversations.tests.factories import NOON, make_conversation, make_message, make_reply

UNKNOWN = [None, "infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "20000-02-29 00:00:00+00"]
LATER = NOON + timedelta(hours=1)


def set_times(conversation: Conversation, time: str | None, *, of_messages: bool = True) -> None:
    with connection.cursor() as cursor:
        set_both = "UPDATE conversations SET created_at = %s::timestamptz, updated_at = %s::timestamptz WHERE id = %s"
        cursor.execute(set_both, [time, time, conversation.id])
        if of_messages:
            set_all = "UPDATE messages SET created_at = %s::timestamptz WHERE conversation_id = %s"
            cursor.execute(set_all, [time, conversation.id])


def times_in(value: Any) -> list[Any]:
    """Return every time of a response, with the days of groups."""
    if isinstance(value, list):
        return [time for one in value for time in times_in(one)]
    if not isinstance(value, dict):
        return []
    own = [one for name, one in value.items() if name.split("_")[0] in ("created", "createdAt", "updated", "completed")]
    own = [one for one in own if isinstance(one, str | int)]
    return own + list(value.get("grouped", ())) + [time for one in value.values() for time in times_in(one)]


def year_of(time: str | int) -> int:
    return datetime.fromtimestamp(time).year if isinstance(time, int) else int(time[:4])


@pytest.mark.parametrize("time", UNKNOWN, ids=str)
def test_no_surface_shows_a_time_that_nobody_wrote(user: UserClient, time: str | None) -> None:
    conversation = make_conversation(user.user_id, title="tea")
    asked = make_message(conversation, "green tea")
    answer = make_reply(asked, "black tea")
    conversation_id, response_id = conversation.id, f"resp_{answer.id.hex}"
    cursor = user.get("/api/changes").json()["next"]
    set_times(conversation, time)
    with connection.cursor() as sql:
        sql.execute("SELECT min(applied) FROM django_migrations WHERE app = 'conversations'")
        [migrated] = sql.fetchone()
    addresses = [
        "/api/conversations",
        "/api/conversations?limit=1&tz=Asia/Tokyo",
        f"/api/conversations/{conversation_id}",
        f"/api/conversations/{conversation_id}?limit=5",
        f"/api/conversations/{conversation_id}/messages",
        f"/api/conversations/{conversation_id}/messages?versions=all",
        f"/api/conversations/{conversation_id}/messages/{asked.id}",
        "/api/search?q=tea",
        f"/api/changes?since={cursor}",
        "/conversations",
        f"/conversations/{conversation_id}",
        f"/conversations/{conversation_id}/messages",
        "/conversation",
        f"/api/chat/{conversation_id}",
        f"/v1/conversations/conv_{conversation_id.hex}",
        f"/v1/responses/{response_id}",
    ]
    seen = 0
    for address in addresses:
        answered = user.get(address)
        assert answered.status_code == 200, (address, answered.content)
        found = times_in(answered.json())
        assert {year_of(one) for one in found} <= {migrated.year}, (address, found)
        seen += bool(found)
    assert seen >= len(addresses) - 1, "the search for times has missed some"


def test_a_change_shows_the_same_time_as_the_list(user: UserClient, settings: Any) -> None:
    settings.TRASH_DAYS = 30
    conversation = make_conversation(user.user_id)
    make_message(conversation, created_at=LATER)
    set_times(conversation, None, of_messages=False)
    [listed] = user.get("/api/conversations").json()["items"]
    address = f"/api/conversations/{conversation.id}"
    tag = user.get(address)["ETag"]
    changed = user.patch(address, json.dumps({"title": "tea"}), headers={"If-Match": tag})
    assert changed.status_code == 200, changed.content
    assert changed.json()["created_at"] == listed["created_at"] == "2026-11-20T13:00:00Z"
    user.delete(address)
    [removed] = user.get("/api/conversations?deleted=true").json()["items"]
    assert removed["created_at"] == "2026-11-20T13:00:00Z"
    assert user.post(f"{address}/restore").json()["created_at"] == "2026-11-20T13:00:00Z"


def shown_time(user: UserClient, message: Message) -> str:
    return str(user.get(f"/api/conversations/{message.conversation_id}/messages/{message.id}").json()["created_at"])


@pytest.mark.parametrize(("time", "shown"), [("-infinity", NOON), ("infinity", LATER), (None, LATER)], ids=str)
def test_a_message_shows_a_time_of_its_conversation(user: UserClient, time: str | None, shown: datetime) -> None:
    conversation = make_conversation(user.user_id, updated_at=LATER)
    message = make_message(conversation)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE messages SET created_at = %s::timestamptz WHERE id = %s", [time, message.id])
    assert datetime.fromisoformat(shown_time(user, message)) == shown


def test_pages_go_on_after_rows_whose_time_was_replaced(user: UserClient) -> None:
    made: set[UUID] = set()
    for time in [*UNKNOWN, *UNKNOWN]:
        conversation = make_conversation(user.user_id)
        make_message(conversation)
        set_times(conversation, time)
        made.add(conversation.id)
    seen: list[str] = []
    address = "/api/conversations?limit=1"
    for _ in made:
        page = user.get(address).json()
        seen += [item["id"] for item in page["items"]]
        address = f"/api/conversations?limit=1&cursor={page['next']}"
    assert page["next"] is None
    assert sorted(seen) == sorted(map(str, made))


def test_known_times_cost_no_query(user: UserClient, django_assert_num_queries: Any) -> None:
    conversation = make_conversation(user.user_id)
    make_message(conversation)
    address = f"/api/conversations/{conversation.id}/messages"
    user.get(address)
    with django_assert_num_queries(2):
        user.get(address)
    set_times(conversation, None)
    with django_assert_num_queries(3):
        user.get(address)
