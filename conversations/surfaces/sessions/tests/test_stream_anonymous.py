"""POST /api/v1/chat/stream without a valid token"""

import uuid

import psycopg
import pytest

from conversations.surfaces.conftest import MakeAssistant
from conversations.surfaces.sessions.tests.calls import history, new_key, say
from tests.conftest import StartServer
from tests.support.auth import ScriptedAuth
from tests.support.client import Client


@pytest.mark.parametrize("authorization", [None, "Bearer not-a-token", "Bearer", "Basic YTpi"])
def test_a_public_assistant_needs_no_valid_token(
    anonymous_client: Client, make_assistant: MakeAssistant, authorization: str | None
) -> None:
    key, headers = new_key(), {} if authorization is None else {"Authorization": authorization}
    stream = say(anonymous_client, key, "hi", headers, assistant_id=make_assistant(public=True))
    assert stream.finish()["status"] == "complete"
    assert history(anonymous_client, key) == [("user", "hi"), ("bot", "hi")]
    # A session remembers its assistant.
    assert say(anonymous_client, key.upper(), "more", headers).finish()["status"] == "complete"
    assert anonymous_client.request("DELETE", f"/api/v1/chat/{key}").status == 200
    assert history(anonymous_client, key) == []


def test_other_assistants_need_a_token(anonymous_client: Client, make_assistant: MakeAssistant) -> None:
    for fields in ({"assistant_id": make_assistant()}, {"assistant_id": None}, {}):
        answer = say(anonymous_client, new_key(), **fields)
        assert (answer.status, answer.json["code"]) == (401, "not_authenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_assistant_that_is_closed_to_the_public_ends_its_anonymous_sessions(
    anonymous_client: Client, make_assistant: MakeAssistant, database: psycopg.Connection
) -> None:
    assistant, key = make_assistant(public=True), new_key()
    say(anonymous_client, key, assistant_id=assistant).finish()
    database.execute("UPDATE assistants SET requires_authentication = true WHERE id = %s", [assistant])
    assert say(anonymous_client, key).status == 401


def test_a_caller_is_anonymous_only_if_the_operator_allows_it(new_server: StartServer, make_assistant: MakeAssistant) -> None:
    with new_server() as server:
        nobody = Client(server.port, None)
        answer = say(nobody, new_key(), assistant_id=make_assistant(public=True))
        assert (answer.status, answer.json["code"]) == (401, "not_authenticated")
        nobody.close()


def test_an_anonymous_session_s_id_is_a_uuid(anonymous_client: Client, make_assistant: MakeAssistant) -> None:
    answer = say(anonymous_client, "easy-to-guess", assistant_id=make_assistant(public=True))
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert anonymous_client.request("GET", "/api/v1/chat/easy-to-guess/history").status == 404


def test_an_anonymous_session_expires_a_day_after_its_last_turn(
    anonymous_client: Client, make_assistant: MakeAssistant, database: psycopg.Connection
) -> None:
    assistant, key = make_assistant(public=True), new_key()

    def lifetime_h() -> int:
        query = "SELECT extract(epoch FROM expires_at - now()) / 3600 FROM conversations WHERE session_id = %s"
        return round(database.execute(query, [key]).fetchone()[0])

    say(anonymous_client, key, "one", assistant_id=assistant).finish()
    assert lifetime_h() == 24
    database.execute("UPDATE conversations SET expires_at = now() + interval '1 minute' WHERE session_id = %s", [key])
    say(anonymous_client, key, "two").finish()
    assert lifetime_h() == 24
    database.execute("UPDATE conversations SET expires_at = now() WHERE session_id = %s", [key])
    assert anonymous_client.request("GET", f"/api/v1/chat/{key}/history").status == 404
    assert say(anonymous_client, key, "three").status == 401
    say(anonymous_client, key, "anew", assistant_id=assistant).finish()
    assert history(anonymous_client, key) == [("user", "anew"), ("bot", "anew")]


def test_a_caller_whose_token_can_t_be_checked_is_not_anonymous(
    auth: ScriptedAuth, anonymous_client: Client, make_assistant: MakeAssistant
) -> None:
    auth.fail(500)
    headers = {"Authorization": f"Bearer user-{uuid.uuid4()}"}
    answer = say(anonymous_client, new_key(), "hi", headers, assistant_id=make_assistant(public=True))
    assert (answer.status, answer.json["code"]) == (503, "auth_unavailable")


def test_the_answer_says_that_an_invalid_token_was_not_used(anonymous_client: Client, make_assistant: MakeAssistant) -> None:
    public = make_assistant(public=True)
    expected = {"Bearer not-a-token": 'Bearer error="invalid_token"', None: None}
    for authorization, header in expected.items():
        headers = {} if authorization is None else {"Authorization": authorization}
        stream = say(anonymous_client, new_key(), "hi", headers, assistant_id=public)
        assert (stream.status, stream.headers["WWW-Authenticate"]) == (200, header)
        stream.finish()
