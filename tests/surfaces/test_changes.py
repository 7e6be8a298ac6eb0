"""What any surface changes is told by /api/changes."""

from collections.abc import Callable

import psycopg
import pytest

from tests.support.client import Client
from tests.support.server import Server
from tests.surfaces.test_across_surfaces import write_ai_sdk, write_completion, write_contract, write_primary, write_session


def write_response(client: Client, conversation: str, text: str) -> None:
    assert client.request("POST", "/v1/responses", {"conversation": f"conv_{conversation}", "input": text}).status == 200


def rename_contract(client: Client, conversation: str, text: str) -> None:
    assert client.request("PATCH", f"/conversations/{conversation}", {"title": text}).status == 200


def archive_in_bulk(client: Client, conversation: str, text: str) -> None:
    assert client.request("POST", "/api/conversations/bulk", {"ids": [conversation], "action": "archive"}).status == 200


ACTIONS: list[Callable[[Client, str, str], None]] = [
    write_primary,
    write_contract,
    write_completion,
    write_ai_sdk,
    write_response,
    rename_contract,
    archive_in_bulk,
]


def told(client: Client, cursor: str) -> tuple[list[str], list[str], str]:
    body = client.get(f"/api/changes?since={cursor}")
    assert not body["has_more"]
    return [item["id"] for item in body["conversations"]], body["deleted"], body["next"]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_each_surface_s_changes_are_told(action: Callable[[Client, str, str], None], client: Client) -> None:
    conversation, _ = client.create_conversation(), client.create_conversation()
    cursor = client.get("/api/changes")["next"]
    action(client, conversation, "a new word")
    assert told(client, cursor)[:2] == ([conversation], [])


def test_a_session_and_its_end_are_told(client: Client) -> None:
    cursor = client.get("/api/changes")["next"]
    write_session(client, "", "hello")
    shown, deleted, cursor = told(client, cursor)
    assert (len(shown), deleted) == (1, [])
    client.request("DELETE", "/api/v1/chat/shared")
    # The conversation stays, and loses the name of the session.
    assert told(client, cursor)[:2] == (shown, [])


def test_what_other_software_writes_is_told(client: Client, database_url: str, service: Server) -> None:
    """The predecessor's statements, and nodes of the version before, know nothing of this."""
    conversation = client.create_conversation()
    cursor = client.get("/api/changes")["next"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO messages (conversation_id, role, content, created_at) VALUES (%s, 'user', 'hello', now())",
            [conversation],
        )
        shown, deleted, cursor = told(client, cursor)
        assert (shown, deleted) == ([conversation], [])
        connection.execute("DELETE FROM conversations WHERE id = %s", [conversation])
    assert told(client, cursor)[:2] == ([], [conversation])
