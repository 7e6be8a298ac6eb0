"""GET, PUT and DELETE /api/me/instructions, and what the model is told"""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chatapi.tests.clients import UserClient
from conversations.models import Assistant, Conversation, Message, UserInstructions
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sending.turn import Terms, Turn
from conversations.surfaces.api.tests.test_export import body
from conversations.tests.factories import make_conversation
from inference_proxy.protocols.base import Sampling

ADDRESS = "/api/me/instructions"
NONE = {"instructions": "", "is_active": False, "updated_at": None}


def test_they_are_saved_read_and_deleted(user: UserClient, stranger: UserClient) -> None:
    assert user.get(ADDRESS).json() == NONE
    saved = user.put(ADDRESS, {"instructions": "Answer in Dutch."})
    assert saved.status_code == 200
    assert (saved.json()["instructions"], saved.json()["is_active"]) == ("Answer in Dutch.", True)
    assert user.get(ADDRESS).json() == saved.json()
    off = user.put(ADDRESS, {"instructions": "Answer in Danish.", "is_active": False}).json()
    assert user.get(ADDRESS).json() == off and off["updated_at"] >= saved.json()["updated_at"]
    assert stranger.get(ADDRESS).json() == NONE
    for _ in range(2):
        assert user.delete(ADDRESS).status_code == 204
    assert user.get(ADDRESS).json() == NONE


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "instructions"),
        ({"instructions": ""}, "instructions"),
        ({"instructions": " \n"}, "instructions"),
        ({"instructions": None}, "instructions"),
        ({"instructions": 5}, "instructions"),
        ({"instructions": "x" * 4_001}, "instructions"),
        ({"instructions": "a\x00b"}, "instructions"),
        ({"instructions": "x", "is_active": "yes"}, "is_active"),
        ({"instructions": "x", "text": "y"}, "text"),
    ],
    ids=["nothing", "empty", "blank", "null", "number", "too long", "nul", "no flag", "unknown"],
)
def test_what_is_refused_changes_nothing(user: UserClient, given: Any, field: str) -> None:
    user.put(ADDRESS, {"instructions": "before"})
    answer = user.put(ADDRESS, given)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert list(answer.json()["fields"]) == [field]
    assert user.get(ADDRESS).json()["instructions"] == "before"


def test_four_thousand_characters_fit(user: UserClient) -> None:
    assert user.put(ADDRESS, {"instructions": "😀" * 4_000}).status_code == 200


def begin(conversation: Conversation, **more: Any) -> Turn:
    return send_turn(
        conversation_id=conversation.id, user_id=conversation.user_id, content="hello", sampling=Sampling(), **more
    )


def told(turn: Turn) -> str:
    assert turn.request is not None
    return turn.request.system_prompt


def receipt(turn: Turn) -> Any:
    return Message.objects.get(id=turn.reply_id).context


def test_they_stand_between_the_system_prompt_and_the_request_s(user: UserClient, settings: Any) -> None:
    settings.SYSTEM_PROMPT = "general"
    user.put(ADDRESS, {"instructions": "mine"})
    turn = begin(make_conversation(user.user_id), terms=Terms(instructions="of this request"))
    assert told(turn) == "general\n\nmine\n\nof this request"
    assert (receipt(turn)["own_instructions"], receipt(turn)["instructions"]) == (4, 15)
    assert receipt(turn)["characters"] == len("general\n\nmine\n\nof this request") + len("hello")
    assistant = Assistant.objects.create(name="A", system_prompt="special")
    assert told(begin(make_conversation(user.user_id, assistant=assistant))) == "special\n\nmine"
    settings.SYSTEM_PROMPT = ""
    assert told(begin(make_conversation(user.user_id))) == "mine"


def test_the_receipt_is_shown(user: UserClient) -> None:
    user.put(ADDRESS, {"instructions": "mine"})
    conversation = make_conversation(user.user_id)
    turn = begin(conversation)
    shown = user.get(f"/api/conversations/{conversation.id}/messages/{turn.reply_id}").json()
    assert shown["context"]["own_instructions"] == 4


def test_edits_and_regenerations_have_them_too(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    first = begin(conversation)
    assert told(first) == "" and "own_instructions" not in receipt(first)
    Message.objects.filter(id=first.reply_id).update(status="complete", content="hi")
    user.put(ADDRESS, {"instructions": "mine"})
    whose = {"conversation_id": conversation.id, "user_id": user.user_id, "sampling": Sampling()}
    again = regenerate_turn(**whose)
    assert told(again) == "mine" and receipt(again)["own_instructions"] == 4
    Message.objects.filter(id=again.reply_id).update(status="complete", content="hi")
    assert told(edit_turn(message_id=first.user_message_id, content="other", **whose)) == "mine"


def test_who_does_not_have_them(user: UserClient, stranger: UserClient) -> None:
    user.put(ADDRESS, {"instructions": "mine"})
    temporary = make_conversation(user.user_id, expires_at=timezone.now() + timedelta(days=1))
    assert told(begin(temporary)) == "" and told(begin(make_conversation(stranger.user_id))) == ""
    assert told(begin(make_conversation(None, session_id="11111111-1111-4111-8111-111111111111"))) == ""
    user.put(ADDRESS, {"instructions": "mine", "is_active": False})
    assert told(begin(make_conversation(user.user_id))) == ""


def test_they_are_part_of_the_own_export(user: UserClient) -> None:
    assert b"instructions" not in body(user.get("/api/export"))
    user.put(ADDRESS, {"instructions": "mine\u2028"})
    conversation = make_conversation(user.user_id)
    lines = [json.loads(line) for line in body(user.get("/api/export")).splitlines()]
    assert lines[1]["instructions"]["text"] == "mine\u2028" and lines[1]["instructions"]["user_id"] == str(user.user_id)
    assert (lines[-1]["end"]["conversations"], lines[-1]["end"]["messages"]) == (1, 0)
    after = f"{conversation.updated_at.isoformat()},{conversation.id}"
    assert b"instructions" not in body(user.get("/api/export", {"after": after}))
    assert body(user.get("/api/export", {"format": "markdown"})).startswith(b"# Own instructions\n\nmine")
    assert UserInstructions.objects.count() == 1
