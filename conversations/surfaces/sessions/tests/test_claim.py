"""POST /api/v1/chat/{session_id}/claim"""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chatapi.tests.clients import UserClient
from conversations.exceptions import SessionNotFound
from conversations.models import Conversation, Message
from conversations.services.sessions import claim_session
from conversations.tests.concurrency import with_own_connections
from conversations.tests.factories import make_conversation, make_message, make_running_reply, make_turns

SESSION = "11111111-1111-4111-8111-111111111111"


def address(session_id: str = SESSION) -> str:
    return f"/api/v1/chat/{session_id}/claim"


def anonymous_session(**fields: Any) -> Conversation:
    values = {"session_id": SESSION, "expires_at": timezone.now() + timedelta(hours=1), **fields}
    return make_conversation(None, **values)


def test_it_belongs_to_the_user_then(user: UserClient, anonymous: UserClient, stranger: UserClient) -> None:
    session = anonymous_session(title="Tea")
    make_turns(session, 1)
    answer = user.post(address())
    assert (answer.status_code, answer.json()) == (200, {"session_id": SESSION, "conversation_id": str(session.id)})
    before = session.updated_at
    session.refresh_from_db()
    assert (session.user_id, session.expires_at, session.updated_at) == (user.user_id, None, before)
    assert [item["title"] for item in user.get("/api/conversations").json()["items"]] == ["Tea"]
    assert len(user.get(f"/api/v1/chat/{SESSION}/history").json()["messages"]) == 2
    for other in (anonymous, stranger):
        assert other.get(f"/api/v1/chat/{SESSION}/history").status_code == 404
    # Only once; the user may repeat the request.
    assert user.post(address()).json() == answer.json()
    assert (stranger.post(address()).status_code, stranger.post(address()).json()["code"]) == (404, "not_found")


def test_the_id_may_lack_its_hyphens(user: UserClient) -> None:
    session = anonymous_session()
    answer = user.post(address(uuid.UUID(SESSION).hex.upper()))
    assert answer.json() == {"session_id": SESSION, "conversation_id": str(session.id)}


def test_a_token_is_needed(anonymous: UserClient, settings: Any) -> None:
    settings.ALLOW_ANONYMOUS = True
    session = anonymous_session()
    for caller in (anonymous, UserClient("invalid")):
        answer = caller.post(address())
        assert answer.status_code == 401 and answer["WWW-Authenticate"].startswith("Bearer")
    session.refresh_from_db()
    assert session.user_id is None


@pytest.mark.parametrize("case", ["unknown", "malformed", "expired", "another's"])
def test_what_cannot_be_claimed(user: UserClient, stranger: UserClient, case: str) -> None:
    session_id = SESSION
    if case == "malformed":
        session_id = "kitchen"
        make_conversation(None, session_id="kitchen")
    elif case == "expired":
        anonymous_session(expires_at=timezone.now() - timedelta(seconds=1))
    elif case == "another's":
        make_conversation(stranger.user_id, session_id=SESSION)
    answer = user.post(address(session_id))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert not Conversation.objects.owned_by(user.user_id).exists()


def test_a_user_with_a_session_of_that_name_gets_another_name(user: UserClient) -> None:
    mine, session = make_conversation(user.user_id, session_id=SESSION), anonymous_session()
    answer = user.post(address()).json()
    assert answer == {"session_id": f"{SESSION}.2", "conversation_id": str(session.id)}
    assert user.get(f"/api/v1/chat/{SESSION}.2/history").status_code == 200
    mine.refresh_from_db()
    assert mine.session_id == SESSION


def test_a_running_reply_goes_on(user: UserClient) -> None:
    session = anonymous_session()
    reply = make_running_reply(make_message(session), "so far")
    assert user.post(address()).status_code == 200
    (item,) = user.get("/api/conversations").json()["items"]
    assert item["running_message_id"] == str(reply.id)
    assert Message.objects.get(id=reply.id).status == "streaming"


@pytest.mark.django_db(transaction=True)
def test_of_many_users_one_gets_it() -> None:
    session = anonymous_session()
    users = [uuid.uuid4() for _ in range(6)]
    results = with_own_connections(lambda number: claim_session(session_id=SESSION, user_id=users[number]), times=6)
    won = [number for number, result in enumerate(results) if not isinstance(result, Exception)]
    assert len(won) == 1 and {type(result) for result in results if isinstance(result, Exception)} == {SessionNotFound}
    session.refresh_from_db()
    assert session.user_id == users[won[0]]


@pytest.mark.django_db(transaction=True)
def test_one_user_may_ask_many_times_at_once() -> None:
    session, user_id = anonymous_session(), uuid.uuid4()
    results = with_own_connections(lambda number: claim_session(session_id=SESSION, user_id=user_id), times=5)
    assert {(result.name, result.conversation_id) for result in results} == {(SESSION, session.id)}
