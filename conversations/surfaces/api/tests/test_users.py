"""GET /api/admin/users, with and without the predecessor's table of users"""

import uuid
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from chatapi.tests.clients import UserClient
from conversations.tests.factories import make_old_conversation
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server

ADDRESS = "/api/admin/users"
IDS = [UUID(int=number) for number in range(1, 8)]
USERS_SQL = """
CREATE TABLE users (
    id uuid PRIMARY KEY, email varchar(255) NOT NULL, name varchar(255), provider varchar(50) NOT NULL,
    created_at timestamptz DEFAULT now(), last_login_at timestamptz
);
INSERT INTO users SELECT id, 'registered@example.test', 'Ada', 'google', '2026-01-02Z', '2026-03-04Z'
FROM unnest(%s::uuid[]) AS wanted (id)
"""


def run(statement: str, values: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.fixture
def predecessors_users(db: None) -> list[UUID]:
    """The second, fourth and sixth are in the predecessor's table."""
    registered = IDS[1::2]
    for each in USERS_SQL.split(";"):
        run(each, [registered] if "%s" in each else None)
    return registered


def pages(admin: UserClient, limit: int) -> Iterator[dict[str, Any]]:
    cursor = ""
    while cursor is not None:
        page = admin.get(f"{ADDRESS}?limit={limit}{cursor and '&cursor=' + cursor}").json()
        assert len(page["items"]) <= limit
        yield from page["items"]
        cursor = page["next"]


def test_without_that_table_its_fields_are_empty(admin: UserClient) -> None:
    user = make_old_conversation(user_id=IDS[0], messages=3).user_id
    found = next(each for each in pages(admin, 50) if each["id"] == str(user))
    assert (found["provider"], found["created_at"], found["last_login_at"]) == ("", None, None)
    assert (found["conversation_count"], found["message_count"]) == (1, 3) == (found["conversations"], found["messages"])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_everyone_in_that_table_is_listed_in_order(admin: UserClient, predecessors_users: list[UUID], limit: int) -> None:
    for each in IDS[:4]:
        make_old_conversation(user_id=each)
    found = {each["id"]: each for each in pages(admin, limit)}
    assert list(found) == [str(each) for each in (*IDS[:4], IDS[5])] + [str(admin.user_id)]
    registered, owner = found[str(predecessors_users[2])], found[str(IDS[0])]
    assert (registered["email"], registered["name"], registered["provider"]) == ("registered@example.test", "Ada", "google")
    assert (registered["created_at"], registered["last_login_at"]) == ("2026-01-02T00:00:00Z", "2026-03-04T00:00:00Z")
    assert (registered["conversation_count"], registered["message_count"]) == (0, 0)
    assert (owner["email"], owner["provider"], owner["conversation_count"]) == ("", "", 1)


def test_the_total_counts_them(admin: UserClient, predecessors_users: list[UUID]) -> None:
    assert admin.get(ADDRESS).json()["totals"]["users"] == 3


def test_what_the_auth_service_said_last_counts(admin: UserClient, predecessors_users: list[UUID]) -> None:
    run(
        "INSERT INTO users VALUES (%s, 'old@example.test', 'Old', 'github', now(), NULL)",
        [admin.user_id],
    )
    found = next(each for each in pages(admin, 50) if each["id"] == str(admin.user_id))
    assert found["email"] != "old@example.test"
    assert (found["provider"], found["last_login_at"]) == ("github", None)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users DROP COLUMN provider",
        "ALTER TABLE users ALTER COLUMN id TYPE text",
        "CREATE ROLE reader; GRANT ALL ON ALL TABLES IN SCHEMA public TO reader; REVOKE ALL ON users FROM reader; "
        "SET LOCAL ROLE reader",
    ],
    ids=["of another shape", "with other ids", "not to be read"],
)
def test_a_table_that_can_not_be_used_is_left_alone(admin: UserClient, predecessors_users: list[UUID], change: str) -> None:
    for statement in change.split(";"):
        run(statement)
    response = admin.get(ADDRESS)
    assert response.status_code == 200
    assert str(predecessors_users[0]) not in response.content.decode()


@pytest.fixture
def admin_client(service: Server):
    user = Client(service.port, make_token(admin=True))
    yield user
    user.close()


def test_admins_see_users_with_what_they_have(
    admin_client: Client, client: Client, conversation: str, database: psycopg.Connection
) -> None:
    client.ask(conversation, "hi")
    # Only the predecessor knew this user, so the directory has no entry.
    departed = str(uuid.uuid4())
    database.execute("INSERT INTO conversations (user_id) VALUES (%s), (%s)", [departed, departed])
    found, cursor = [], ""
    while cursor is not None:
        page = admin_client.get(f"/api/admin/users?limit=3{cursor and '&cursor=' + cursor}")
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
    assert users[admin_client.token[6:]]["is_admin"] is True
    assert (users[departed]["email"], users[departed]["conversations"], users[departed]["messages"]) == ("", 2, 0)
    counted = {
        name: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for name, table in (("users", "chat_users"), ("conversations", "conversations"), ("messages", "messages"))
    }
    assert page["totals"] == {**counted, "estimated": False}


def test_other_users_see_no_users(client: Client, anonymous_client: Client) -> None:
    answer = client.request("GET", "/api/admin/users")
    assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    assert anonymous_client.request("GET", "/api/admin/users").status == 401
