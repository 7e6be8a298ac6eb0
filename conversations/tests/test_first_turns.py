"""A conversation and its first turn are saved together."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from conversations.exceptions import TooManyGenerations
from conversations.models import Conversation, Message
from conversations.services.sending.begin import send_turn
from conversations.services.sending.brought_messages import Said
from conversations.services.sending.first_turns import Opening, begin_together
from conversations.services.sending.turn import Turn
from conversations.services.sessions import open_session
from conversations.surfaces.ai_sdk.chats import open_chat
from conversations.surfaces.openai.openings import open_conversation
from conversations.surfaces.openai.repeats import Same, find_repeated_turn, wait_for_same_request
from conversations.tests.concurrency import with_own_connections
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_running_reply
from inference_proxy.protocols.base import Sampling


def start(conversation_id: UUID, **terms: Any) -> Turn:
    return send_turn(conversation_id=conversation_id, user_id=USER_ID, content="hello", sampling=Sampling(), **terms)


@pytest.fixture
def busy(settings: Any) -> None:
    """Let the user have as many running replies as allowed."""
    settings.USER_MAX_GENERATIONS = 1
    make_running_reply(make_message(make_conversation()))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "find",
    [
        lambda: open_session(session_id="kitchen", user_id=USER_ID).conversation,
        lambda: open_chat(name="kitchen", user_id=USER_ID),
    ],
)
def test_a_refused_first_message_leaves_nothing_behind(busy: None, settings: Any, find: Callable[[], UUID | Opening]) -> None:
    opening = find()
    assert not isinstance(opening, UUID)
    with pytest.raises(TooManyGenerations):
        begin_together(lambda: start(opening()))
    assert Conversation.objects.count() == 1
    settings.USER_MAX_GENERATIONS = 2
    turn = begin_together(lambda: start(opening()))
    assert Conversation.objects.get(id=turn.conversation_id).session_id == "kitchen"
    assert find() == turn.conversation_id


@pytest.mark.django_db
def test_a_refused_response_leaves_nothing_behind(busy: None, settings: Any) -> None:
    def respond(text: str) -> Turn:
        history = [Said("user", text), Said("assistant", text)]
        return begin_together(lambda: start(open_conversation(user_id=USER_ID, history=history, key="k"), idempotency_key="k"))

    with pytest.raises(TooManyGenerations):
        respond("first")
    settings.USER_MAX_GENERATIONS = 2
    turn = respond("second")
    said = Message.objects.in_conversation(turn.conversation_id).oldest_first().values_list("content", flat=True)
    # The refused request's history was not kept for its key.
    assert list(said) == ["second", "second", "hello", ""]


@pytest.mark.django_db(transaction=True)
def test_equal_requests_at_once_ask_once() -> None:
    same = Same(USER_ID, "same", None)

    def respond() -> Turn:
        wait_for_same_request(same)
        found = find_repeated_turn(same)
        if found is not None:
            return found
        turn = start(open_conversation(user_id=USER_ID))
        Message.objects.filter(id=turn.user_message_id).update(request_fingerprint="same")
        return turn

    turns = with_own_connections(lambda _: begin_together(respond), 4)
    assert len({turn.reply_id for turn in turns}) == 1
    assert Conversation.objects.count() == 1
