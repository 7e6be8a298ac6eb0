"""Nothing that a user can ask for deletes what is on hold: every operation of the schema that changes something is tried."""

from typing import Any

import psycopg
import pytest

from tests.support.client import Client
from tests.surfaces.operations import OPERATIONS, Operation
from tests.surfaces.test_isolation import Victim, try_operation
from tests.surfaces.test_isolation import victim as victim

pytestmark = pytest.mark.slow

CHANGING = [operation for operation in OPERATIONS if operation.method != "GET"]
BULK = "/api/conversations/bulk"
SAVED_SQL = """
SELECT id::text, conversation_id::text, content, reasoning, tool_calls::text FROM messages
WHERE conversation_id = ANY(SELECT id FROM conversations WHERE user_id = %s)
UNION ALL SELECT id::text, NULL, NULL, deleted_at::text, NULL FROM conversations WHERE user_id = %s
"""
# A message that waits was never said: its user may take it back.
REFUSES_OTHERWISE = {"remove_queued_message"}


def hold(database: psycopg.Connection, victim: Victim, of: str) -> str:
    """Return the id of the user."""
    user_id = str(victim.client.token[5:])
    held = (user_id, None) if of == "user" else (None, victim.places["conversation_id"])
    database.execute(
        "INSERT INTO legal_holds (user_id, conversation_id, reason, placed_by) VALUES (%s, %s, 'file 12', 'root')", held
    )
    return user_id


def saved(database: psycopg.Connection, user_id: str) -> set[Any]:
    return set(database.execute(SAVED_SQL, [user_id, user_id]).fetchall())


@pytest.mark.parametrize("operation", CHANGING, ids=lambda operation: operation.id)
def test_nothing_that_was_said_goes(operation: Operation, victim: Victim, database: psycopg.Connection) -> None:
    user_id = hold(database, victim, "conversation")
    before = saved(database, user_id)
    answer = try_operation(victim.client, operation, victim)
    assert before <= saved(database, user_id), "nothing is missing and no text has changed"
    if operation.method == "DELETE" and "{" in operation.path and operation.id not in REFUSES_OTHERWISE:
        assert answer.status == 423, answer
        assert "file 12" not in answer.content.decode(), "the reason is for staff"


@pytest.mark.parametrize("of", ["conversation", "user"])
def test_many_at_once_say_what_was_left_out(victim: Victim, client: Client, database: psycopg.Connection, of: str) -> None:
    other = client.create_conversation()
    user_id = hold(database, victim, of)
    held = {victim.places["conversation_id"], *([other] if of == "user" else [])}
    some = client.request("POST", BULK, {"action": "delete", "ids": sorted(held)}).json
    assert (some["changed"], {one["id"] for one in some["left_out"]}) == (0, held)
    assert {one["code"] for one in some["left_out"]} == {"on_hold"}
    everything = client.request("DELETE", "/api/conversations?confirm=all").json
    assert (everything["changed"], everything["left_out_count"]) == (2 - len(held), len(held))
    assert {row[0] for row in saved(database, user_id) if row[1] is None} == held


def test_own_instructions_stay_while_their_user_is_on_hold(victim: Victim, database: psycopg.Connection) -> None:
    victim.client.request("PUT", "/api/me/instructions", {"instructions": "be brief"})
    hold(database, victim, "user")
    assert victim.client.request("DELETE", "/api/me/instructions").status == 423
    assert victim.client.get("/api/me/instructions")["instructions"] == "be brief"


def test_a_released_hold_lets_its_user_delete(victim: Victim, database: psycopg.Connection) -> None:
    hold(database, victim, "user")
    address = f"/api/conversations/{victim.places['conversation_id']}"
    refusal = victim.client.request("DELETE", address)
    assert (refusal.status, refusal.json["code"]) == (423, "on_hold")
    in_openais_form = victim.client.request("DELETE", f"/v1/conversations/{victim.places['conversation_id']}")
    assert in_openais_form.json["error"]["code"] == "on_hold"
    database.execute("UPDATE legal_holds SET released_at = now() WHERE user_id = %s", [victim.client.token[5:]])
    assert victim.client.request("DELETE", address).status == 204
