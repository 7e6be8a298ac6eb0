"""Assistants, temporary chats, feedback, usage and users on the primary surface."""

import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.surfaces.conftest import MakeAssistant

# Assistants


def test_the_assistants_in_use_are_listed(client: Client, make_assistant: MakeAssistant) -> None:
    here, retired = make_assistant(public=True, model_tag="large"), make_assistant(active=False)
    items = client.get("/api/assistants")["items"]
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)
    found = {item["id"]: item for item in items}
    assert retired not in found
    assert set(found[here]) == {"id", "name", "description", "model_tag", "requires_authentication"}
    assert (found[here]["requires_authentication"], found[here]["model_tag"]) == (False, "large")


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


# Temporary chats


def test_a_temporary_chat_is_in_no_list(client: Client, database: psycopg.Connection) -> None:
    conversation = client.create_conversation(temporary=True)
    client.ask(conversation, "between us")
    for path in ("/api/conversations", "/conversations", "/conversation"):
        found = client.get(path)
        assert (found["items"] if isinstance(found, dict) else found) == []
    assert len(client.conversation(conversation)["messages"]) == 2


def test_a_temporary_chat_expires_a_day_after_its_last_turn(client: Client, database: psycopg.Connection) -> None:
    conversation = client.create_conversation(temporary=True)
    database.execute("UPDATE conversations SET expires_at = now() + interval '1 minute' WHERE id = %s", [conversation])
    client.ask(conversation, "still here")
    row = database.execute("SELECT expires_at - now() FROM conversations WHERE id = %s", [conversation]).fetchone()
    assert timedelta(hours=23) < row[0] <= timedelta(hours=24)
    row = database.execute(
        "SELECT expires_at FROM conversations WHERE id = %s", [client.create_conversation(temporary=False)]
    ).fetchone()
    assert row == (None,)


# Feedback and the answer that counts


def test_a_reply_is_rated_and_the_rating_taken_back(client: Client, conversation: str, database: psycopg.Connection) -> None:
    reply = client.ask(conversation, "hi").message_id
    path = f"/api/conversations/{conversation}/messages/{reply}/feedback"
    rated = client.request("PUT", path, {"rating": -1, "comment": "too short"})
    assert (rated.status, rated.json["feedback"]) == (200, -1)
    query = "SELECT feedback, feedback_comment FROM messages WHERE id = %s"
    assert database.execute(query, [reply]).fetchone() == (-1, "too short")
    assert client.request("PUT", path, {"rating": 1}).json["feedback"] == 1
    assert client.message(conversation, reply)["feedback"] == 1
    assert client.request("PUT", path, {"rating": None}).json["feedback"] is None
    assert database.execute(query, [reply]).fetchone() == (None, None)


@pytest.mark.parametrize(
    "body", [{}, {"rating": 0}, {"rating": 2}, {"rating": "1"}, {"rating": True}, {"rating": 1, "comment": 7}]
)
def test_malformed_feedback_is_refused(client: Client, conversation: str, body: dict) -> None:
    reply = client.ask(conversation, "hi").message_id
    answer = client.request("PUT", f"/api/conversations/{conversation}/messages/{reply}/feedback", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert client.message(conversation, reply)["feedback"] is None


def test_only_replies_of_one_s_own_are_rated(client: Client, stranger: Client, conversation: str) -> None:
    stream = client.ask(conversation, "hi")
    base = f"/api/conversations/{conversation}/messages"
    asked = stream.headers["X-User-Message-Id"]
    assert client.request("PUT", f"{base}/{asked}/feedback", {"rating": 1}).status == 404
    assert client.request("PUT", f"{base}/{uuid.uuid4()}/feedback", {"rating": 1}).status == 404
    assert stranger.request("PUT", f"{base}/{stream.message_id}/feedback", {"rating": 1}).status == 404
    assert stranger.request("POST", f"{base}/{stream.message_id}/activate").status == 404
    assert client.message(conversation, stream.message_id)["feedback"] is None


def test_an_earlier_answer_is_made_to_count_again(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    first = client.ask(conversation, "hi").message_id
    second = client.regenerate(conversation)
    second.finish()
    assert [item["id"] for item in client.conversation(conversation)["messages"][1:]] == [second.message_id]
    path = f"/api/conversations/{conversation}/messages/{first}/activate"
    for _ in range(2):
        answer = client.request("POST", path)
        assert (answer.status, answer.json["id"], answer.json["is_active"]) == (200, first, True)
        assert [item["id"] for item in client.conversation(conversation)["messages"][1:]] == [first]


def test_an_answer_that_is_being_made_can_t_be_made_to_count(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    client.ask(conversation, "hi")
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), done())
    running = client.regenerate(conversation)
    answer = client.request("POST", f"/api/conversations/{conversation}/messages/{running.message_id}/activate")
    assert (answer.status, answer.json["code"]) == (409, "generation_in_progress")
    gate.open()
    running.finish()


def test_a_message_tells_what_the_model_saw(client: Client, conversation: str) -> None:
    stream = client.ask(conversation, "hello")
    context = client.message(conversation, stream.message_id)["context"]
    assert context == {"messages": 1, "characters": 5, "left_out": 0, "reason": None}
    assert client.message(conversation, stream.headers["X-User-Message-Id"])["context"] is None
    assert "context" not in client.messages(conversation)[0]


# Usage


def test_usage_per_day(client: Client, stranger: Client, conversation: str, database: psycopg.Connection) -> None:
    client.ask(conversation, "one two three")
    stranger.ask(stranger.create_conversation(), "not counted")
    database.execute(
        "INSERT INTO usage_totals (user_id, bucket, messages, replies, tokens, inference_time_ms) VALUES"
        " (%(user)s, date_trunc('day', now(), 'UTC') - interval '2 days', 1, 0, 0, 0),"
        " (%(user)s, date_trunc('day', now(), 'UTC') - interval '1 day 15 minutes', 0, 1, 40, 700),"
        " (%(user)s, date_trunc('day', now(), 'UTC') - interval '2 days 15 minutes', 0, 1, 1, 1)",
        {"user": client.token[5:]},
    )
    report = client.get("/api/usage?days=3")
    today = datetime.now(UTC).date()
    assert [day["date"] for day in report["days"]] == [str(today - timedelta(days=back)) for back in (2, 1, 0)]
    before, yesterday, now = report["days"]
    assert (before["messages"], before["replies"], before["tokens"], before["inference_time_ms"]) == (1, 1, 40, 700)
    assert (yesterday["messages"], yesterday["replies"], yesterday["tokens"]) == (0, 0, 0)
    assert (now["messages"], now["replies"], now["tokens"]) == (1, 1, 3)
    assert report["total"]["tokens"] == 43
    assert len(client.get("/api/usage")["days"]) == 30


def test_deleting_does_not_reduce_usage(client: Client, conversation: str) -> None:
    client.ask(conversation, "one two three")
    client.regenerate(conversation).finish()
    before = client.get("/api/usage?days=2")["total"]
    assert (before["messages"], before["replies"], before["tokens"]) == (1, 2, 6)
    assert client.request("DELETE", f"/api/conversations/{conversation}").status == 204
    assert client.get("/api/usage?days=2")["total"] == before


def test_usage_from_day_to_day_in_a_time_zone(client: Client, database: psycopg.Connection) -> None:
    database.execute(
        "INSERT INTO usage_totals (user_id, bucket, messages) VALUES (%s, '2026-03-01 20:00Z', 1)", [client.token[5:]]
    )
    days = client.get("/api/usage?from=2026-03-01&to=2026-03-02&tz=Asia/Kolkata")["days"]
    assert [(day["date"], day["messages"]) for day in days] == [("2026-03-01", 0), ("2026-03-02", 1)]


@pytest.mark.parametrize(
    "query",
    [
        "days=0",
        "days=93",
        "days=x",
        "from=2026-01-01&to=2026-12-31",
        "from=2026-02-01&to=2026-01-01",
        "from=yesterday",
        "to=0001-01-01",
        "to=9999-12-31",
        "from=2026-01-01&days=3",
        "tz=Mars/Olympus",
    ],
)
def test_a_malformed_range_is_refused(client: Client, query: str) -> None:
    answer = client.request("GET", f"/api/usage?{query}")
    assert (answer.status, answer.json["code"]) == (400, "invalid")


# Users


@pytest.fixture
def admin(service: Server):
    user = Client(service.port, make_token(admin=True))
    yield user
    user.close()


def test_admins_see_users_with_what_they_have(
    admin: Client, client: Client, conversation: str, database: psycopg.Connection
) -> None:
    client.ask(conversation, "hi")
    # One whom only the predecessor knew: without an entry in the directory.
    departed = str(uuid.uuid4())
    database.execute("INSERT INTO conversations (user_id) VALUES (%s), (%s)", [departed, departed])
    found, cursor = [], ""
    while cursor is not None:
        page = admin.get(f"/api/admin/users?limit=3{cursor and '&cursor=' + cursor}")
        assert len(page["items"]) <= 3
        found += page["items"]
        cursor = page["next"]
    ids = [user["id"] for user in found]
    assert ids == sorted(set(ids))
    users = {user["id"]: user for user in found}
    one = users[client.token[5:]]
    assert (one["conversations"], one["messages"], one["is_admin"]) == (1, 2, False)
    assert one["email"].endswith("@example.test")
    assert one["last_seen_at"]
    assert users[admin.token[6:]]["is_admin"] is True
    assert (users[departed]["email"], users[departed]["conversations"], users[departed]["messages"]) == ("", 2, 0)
    counted = {
        name: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for name, table in (("users", "chat_users"), ("conversations", "conversations"), ("messages", "messages"))
    }
    assert page["totals"] == {**counted, "estimated": False}


def test_nobody_else_sees_users(client: Client, anonymous: Client) -> None:
    answer = client.request("GET", "/api/admin/users")
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    assert anonymous.request("GET", "/api/admin/users").status == 401
