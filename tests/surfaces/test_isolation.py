"""No caller gets at another user's things: every operation of the schema is tried by another user and without a token.

The operations come from the generated schema, so a new one is tried without a word here; only if it takes a body, a valid
one must be added below, or it would be refused for the wrong reason.
"""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.support.auth import make_token
from tests.support.client import ABSENT, Answer, Client
from tests.support.server import Server
from tests.surfaces.conftest import MakeAssistant
from tests.surfaces.operations import OPERATIONS, Operation

pytestmark = pytest.mark.slow

SECRET = "verborgen"
BODIES: dict[str, Any] = {
    "activate_message": ABSENT,
    "change_conversation": {"title": "changed"},
    "change_conversations": {"all": True, "action": "archive"},
    "chat_change": {"title": "changed"},
    "chat_stop": ABSENT,
    "chat_submit": {
        "id": "…",
        "messages": [{"id": "q1", "role": "user", "parts": [{"type": "text", "text": "intruding"}]}],
    },
    "completion_complete": {"message": "intruding"},
    "completion_create_conversation": ABSENT,
    "continue_reply": {"stream": False},
    "contract_change_conversation": {"title": "changed"},
    "contract_create_conversation": {"title": "new", "model_tag": "default"},
    "contract_send_message": {"message": {"content": "intruding"}, "stream": False},
    "create_conversation": {},
    "fork_conversation": {},
    "issue_ticket": ABSENT,
    "edit_message": {"content": "intruding", "stream": False},
    "openai_cancel_response": ABSENT,
    "openai_create_completion": {"messages": [{"role": "user", "content": "intruding"}]},
    "openai_create_conversation": {},
    "openai_create_items": {"items": [{"role": "user", "content": "intruding"}]},
    "openai_create_response": {"input": "intruding"},
    "openai_update_conversation": {"metadata": {"by": "an intruder"}},
    "rate_reply": {"rating": 1},
    "regenerate": {"stream": False},
    "regenerate_message": {"stream": False},
    "replace_conversation": {"title": "changed"},
    "restore_conversation": ABSENT,
    "resume_queue": ABSENT,
    "name_conversation": ABSENT,
    "save_instructions": {"instructions": "of an intruder"},
    "send_message": {"content": "intruding", "stream": False},
    "session_claim": ABSENT,
    "session_send_message": {"session_id": "…", "message": "intruding"},
    "stop_reply": ABSENT,
    "swap_model": {"model_tag": "tiny"},
}
QUERIES = {"search": f"?q={SECRET}", "delete_all_conversations": "?confirm=all"}
# Of the victim's session: who isn't its user begins one of their own, or none.
MAKES_ITS_OWN = {"session_send_message"}
# A chat that does not exist has no running reply.
ANSWERS_NOTHING = {"chat_resume"}


@dataclass(frozen=True)
class Victim:
    """Someone with a conversation, and what of it must not get out."""

    client: Client
    places: dict[str, str]
    known: set[str]

    def snapshot(self, database: psycopg.Connection) -> list[Any]:
        user_id = self.client.token[5:]
        rows = database.execute(
            "SELECT to_jsonb(conversations), (SELECT jsonb_agg(messages ORDER BY messages.id) FROM messages"
            " WHERE conversation_id = conversations.id) FROM conversations WHERE user_id = %s ORDER BY id",
            [user_id],
        )
        return rows.fetchall()


@pytest.fixture
def victim(client: Client) -> Victim:
    session = str(uuid.uuid4())
    client.open("POST", "/api/v1/chat/stream", {"session_id": session, "message": f"{SECRET} question"}).finish()
    conversation = client.get("/api/conversations")["items"][0]["id"]
    asked, reply = client.messages(conversation)
    places = {"conversation_id": conversation, "message_id": reply["id"], "response_id": reply["id"]}
    places["item_id"] = reply["id"]
    places |= {"session_id": session, "chat_id": session, "model": "absent"}
    return Victim(client=client, places=places, known={SECRET, asked["id"], client.token[5:]})


def try_operation(intruder: Client, operation: Operation, victim: Victim, headers: dict[str, str] | None = None) -> Answer:
    body = BODIES[operation.id] if operation.method in ("POST", "PUT", "PATCH") else ABSENT
    if isinstance(body, dict):
        body = {name: victim.places["session_id"] if value == "…" else value for name, value in body.items()}
    path = operation.path.format(**victim.places)
    path += QUERIES.get(operation.id, "")
    return intruder.request(operation.method, path, body, headers)


def assert_nothing_got_out(answer: Answer, victim: Victim) -> None:
    said = answer.content.decode() + str(answer.headers)
    assert not [secret for secret in victim.known if secret in said], said


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_another_user_gets_and_changes_nothing(
    operation: Operation, victim: Victim, other_client: Client, database: psycopg.Connection
) -> None:
    before = victim.snapshot(database)
    answer = try_operation(other_client, operation, victim)
    if "{" in operation.path:
        assert answer.status == (204 if operation.id in ANSWERS_NOTHING else 404), answer
    else:
        assert answer.status in (200, 201, 204, 403), answer
    assert_nothing_got_out(answer, victim)
    assert victim.snapshot(database) == before


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_a_temporary_chat_whose_time_is_over_is_gone_for_its_user_too(
    operation: Operation, victim: Victim, database: psycopg.Connection
) -> None:
    """From that moment on, not from the next pruning on."""
    database.execute(
        "UPDATE conversations SET expires_at = now() - interval '1 second' WHERE id = %s", [victim.places["conversation_id"]]
    )
    before = victim.snapshot(database)
    answer = try_operation(victim.client, operation, victim)
    if "{" in operation.path:
        assert answer.status == (204 if operation.id in ANSWERS_NOTHING else 404), answer
        assert victim.snapshot(database) == before
    else:
        assert answer.status in (200, 201, 204, 403), answer
    said = answer.content.decode()
    assert SECRET not in said
    assert victim.places["conversation_id"] not in said


@pytest.mark.parametrize("kind", ["anonymous", "expired", "invented"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_without_a_valid_token_nothing_is_got_or_changed(
    operation: Operation, kind: str, victim: Victim, anonymous_client: Client, database: psycopg.Connection
) -> None:
    tokens = {"expired": make_token(uuid.UUID(victim.client.token[5:]), expires_at=int(time.time()) - 1), "invented": "x.y.z"}
    headers = {"Authorization": f"Bearer {tokens[kind]}"} if kind in tokens else {}
    before = victim.snapshot(database)
    answer = try_operation(anonymous_client, operation, victim, headers)
    if operation.needs_token:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    elif "{" in operation.path:
        assert answer.status == 404, answer
    elif operation.id in MAKES_ITS_OWN:
        assert answer.status == 401, answer
    else:
        assert answer.status == 200, answer
    assert_nothing_got_out(answer, victim)
    assert victim.snapshot(database) == before


def test_the_schema_names_every_route(service: Server) -> None:
    """What the schema did not name would not be tried above."""
    from django.urls import get_resolver

    def routes(patterns: Any, prefix: str = "") -> list[str]:
        found = []
        for pattern in patterns:
            path = prefix + str(pattern.pattern)
            found += routes(pattern.url_patterns, path) if hasattr(pattern, "url_patterns") else [path]
        return found

    named = {operation.path.lstrip("/") for operation in OPERATIONS}
    served = {
        route.replace("<str:", "{").replace("<path:", "{").replace(">", "}")
        for route in routes(get_resolver().url_patterns)
        if not route.startswith("admin/")
    }
    assert served - named == {"api/schema", "api/docs"}
    assert named <= served


def test_an_anonymous_session_is_closed_to_others(
    anonymous_client: Client, other_client: Client, make_assistant: MakeAssistant, database: psycopg.Connection
) -> None:
    key = str(uuid.uuid4())
    body = {"session_id": key, "message": SECRET, "assistant_id": make_assistant(public=True)}
    anonymous_client.open("POST", "/api/v1/chat/stream", body).finish()
    row = database.execute("SELECT id FROM conversations WHERE session_id = %s", [key]).fetchone()
    for path in (f"/api/conversations/{row[0]}", f"/conversations/{row[0]}", f"/api/v1/chat/{key}/history"):
        assert other_client.request("GET", path).status == 404
    assert other_client.request("POST", f"/conversation/completion/{row[0]}", {"message": "hi"}).status == 404
    assert other_client.request("DELETE", f"/api/conversations/{row[0]}").status == 404
    assert other_client.get("/api/search?q=" + SECRET)["items"] == []
