"""Times that Python does not know, in rows of an old database: no list, page, export or admin page fails for them."""

import base64
import io
import json
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, Message
from conversations.services.history.exports.export import export_history
from conversations.services.history.id_batches import Walk
from conversations.services.history.pruning.prune import PruneCriteria, prune_history
from conversations.services.staff.export_selection import ExportFormat, export_conversations
from conversations.tests.factories import make_conversation, make_message, make_reply

# As PostgreSQL orders them. The first and the last that Python knows can't be moved to every zone.
TIMES = (
    "-infinity",
    "0044-03-15 12:00:00+00 BC",
    "0001-01-01 00:00:00+00",
    "2026-11-20 12:00:00+00",
    "9999-12-31 23:59:59.999999+00",
    "20000-02-29 00:00:00+00",
    "infinity",
)


def write_times(table: str, times: dict[UUID, str], *columns: str) -> None:
    with connection.cursor() as cursor:
        for row_id, time in times.items():
            for column in columns:
                cursor.execute(f"UPDATE {table} SET {column} = %s::text::timestamptz WHERE id = %s", [time, row_id])


@pytest.fixture
def conversations(user: UserClient) -> list[UUID]:
    """Two conversations at each time, newest activity first; each has a question and an answer."""
    made = [(time, make_conversation(user.user_id, title="tea")) for time in TIMES for _ in range(2)]
    for _, conversation in made:
        make_reply(make_message(conversation, "green tea"), "black tea")
    write_times("conversations", {conversation.id: time for time, conversation in made}, "created_at", "updated_at")
    for time, conversation in made:
        write_times("messages", dict.fromkeys(conversation.messages.values_list("id", flat=True), time), "created_at")
    return [conversation.id for _, conversation in sorted(made, key=lambda one: (TIMES.index(one[0]), one[1].id), reverse=True)]


@pytest.fixture
def long_conversation(user: UserClient) -> tuple[UUID, list[UUID]]:
    """A conversation with two messages at each time, oldest first."""
    conversation = make_conversation(user.user_id)
    made = [(time, make_message(conversation, "tea", created_at=None)) for time in TIMES for _ in range(2)]
    write_times("messages", {message.id: time for time, message in made}, "created_at")
    return conversation.id, [message.id for _, message in sorted(made, key=lambda one: (TIMES.index(one[0]), one[1].id))]


def read_pages(user: UserClient, address: str) -> list[Any]:
    """Follow `next` and return the items of all pages; fails where it goes in circles."""
    items: list[Any] = []
    cursor = ""
    for _ in range(50):
        page = user.get(f"{address}{cursor and '&cursor=' + cursor}")
        assert page.status_code == 200, page.content
        items += page.json()["items"]
        if page.json()["next"] is None:
            return items
        cursor = page.json()["next"]
    raise AssertionError("the pages have no end")


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_a_list_has_every_conversation_once(user: UserClient, conversations: list[UUID], limit: int) -> None:
    items = read_pages(user, f"/api/conversations?limit={limit}")
    assert [item["id"] for item in items] == [str(each) for each in conversations]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
def test_a_list_has_groups_in_every_zone(user: UserClient, conversations: list[UUID], zone: str) -> None:
    grouped = user.get(f"/api/conversations?tz={zone}").json()["grouped"]
    assert sum(map(len, grouped.values())) == len(conversations)


@pytest.mark.parametrize("limit", [1, 3])
def test_pages_of_messages_have_every_message_once(
    user: UserClient, long_conversation: tuple[UUID, list[UUID]], limit: int
) -> None:
    conversation_id, messages = long_conversation
    items = read_pages(user, f"/api/conversations/{conversation_id}/messages?limit={limit}")
    assert sorted(item["id"] for item in items) == sorted(str(each) for each in messages)
    whole = user.get(f"/api/conversations/{conversation_id}").json()["messages"]
    assert [item["id"] for item in whole] == [str(each) for each in messages]


def test_a_time_that_no_client_can_read_is_unknown(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    message = make_message(conversation)
    write_times("conversations", {conversation.id: "infinity"}, "created_at")
    write_times("messages", {message.id: "-infinity"}, "created_at")
    found = user.get(f"/api/conversations/{conversation.id}").json()
    assert (found["created_at"], found["updated_at"]) == ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z")
    assert found["messages"][0]["created_at"] == "2026-11-20T12:00:00Z"


def test_every_surface_reads_them(user: UserClient, conversations: list[UUID]) -> None:
    addresses = ["/conversations", "/conversation", "/api/search?q=tea", "/api/usage"]
    for conversation_id in conversations:
        own = [f"/conversations/{conversation_id}", f"/conversations/{conversation_id}/messages"]
        addresses += [*own, f"/api/conversations/{conversation_id}"]
    for address in addresses:
        answer = user.get(address)
        assert answer.status_code == 200, (address, answer.content)
        assert "infinity" not in answer.content.decode()
        assert " BC" not in answer.content.decode()


def test_a_search_finds_them_page_by_page(user: UserClient, conversations: list[UUID]) -> None:
    for words in ("tea", "茶"):
        Message.objects.update(content=f"green {words}")
        found = read_pages(user, f"/api/search?q={words}&limit=3")
        ids = [item["message_id"] for item in found if item["in"] == "message"]
        assert len(set(ids)) == len(ids) == 2 * len(conversations)
        titles = [item["conversation_id"] for item in found if item["in"] == "title"]
        assert len(set(titles)) == len(titles)


def test_a_conversation_with_such_times_goes_on(user: UserClient, conversations: list[UUID]) -> None:
    for conversation_id in conversations:
        changed = user.patch(f"/api/conversations/{conversation_id}", {"title": "renamed"})
        assert (changed.status_code, changed.json()["title"]) == (200, "renamed")


def test_admins_list_users_with_such_times(admin: UserClient, user: UserClient) -> None:
    user.get("/api/conversations")
    write = "UPDATE chat_users SET first_seen_at = '-infinity', last_seen_at = 'infinity' WHERE id = %s"
    with connection.cursor() as cursor:
        cursor.execute(write, [user.user_id])
    listed = admin.get("/api/admin/users").json()["items"]
    assert {item["first_seen_at"] for item in listed if item["id"] == str(user.user_id)} == {None}


def test_the_admin_shows_them(user: UserClient, conversations: list[UUID]) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("root"))
    base = "/admin/conversations"
    pages = [f"{base}/conversation/", f"{base}/conversation/?q=tea", f"{base}/chatuser/{user.user_id}/change/"]
    pages += [f"{base}/conversation/{conversation_id}/change/" for conversation_id in conversations]
    for page in pages:
        assert staff.get(page).status_code == 200, page


@pytest.mark.parametrize("time", ["infinity", "-infinity"])
def test_the_admin_shows_no_year_that_nobody_wrote(user: UserClient, time: str) -> None:
    conversation = make_conversation(user.user_id)
    message = make_reply(make_message(conversation), "", status="failed", error_code="upstream_error")
    write_times("conversations", {conversation.id: time}, "created_at", "updated_at")
    write_times("messages", dict.fromkeys(conversation.messages.values_list("id", flat=True), time), "created_at")
    staff = Client()
    staff.force_login(User.objects.create_superuser("root"))
    base = "/admin/conversations"
    for page in ("conversation/", f"conversation/{conversation.id}/change/", f"chatuser/{user.user_id}/change/"):
        shown = staff.get(f"{base}/{page}").content.decode()
        assert str(conversation.id) in shown
        assert "9999-" not in shown and "0001-01-01" not in shown, page
    assert str(message.id) in staff.get(f"{base}/conversation/{conversation.id}/change/").content.decode()


@pytest.mark.parametrize("export_format", ["csv", "jsonl"])
def test_staff_export_them(conversations: list[UUID], export_format: ExportFormat) -> None:
    written = b"".join(export_conversations(conversation_ids=conversations, export_format=export_format)).decode()
    assert "-infinity" in written
    assert "0044-03-15 12:00:00+00 BC" in written


def test_commands_walk_through_them(user: UserClient, conversations: list[UUID]) -> None:
    for file_format in ("jsonl", "markdown"):
        target = io.BytesIO()
        export_history(target=target, file_format=file_format, batch_size=1)  # type: ignore[arg-type]
        assert target.getvalue().count(b"green tea") == len(conversations)
    walk = Walk(Conversation.objects.all(), batch_size=1)
    walked = [conversation_id for _ in conversations for conversation_id in walk.next_window()]
    assert sorted(walked) == sorted(conversations)
    assert not walk.next_window()
    assert prune_history(criteria=PruneCriteria(user_id=user.user_id), largest_batch=1).conversations == len(conversations)


@pytest.mark.parametrize(
    "time",
    [
        "infinity",
        "300000-01-01 00:00:00+00",
        "12026-02-31 00:00:00+00",
        "4800-01-01 00:00:00+00 BC",
        "0000-01-01 00:00:00+00 BC",
    ],
)
def test_a_cursor_holds_no_time_that_postgresql_refuses(user: UserClient, time: str) -> None:
    key = json.dumps(["c", time, "0b54ad5e-2f0c-4a7e-9d4e-000000000000"])
    cursor = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    answer = user.get(f"/api/conversations?cursor={cursor}")
    assert answer.status_code == (200 if time == "infinity" else 400), answer.content
