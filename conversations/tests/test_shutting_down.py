"""A worker that shuts down begins no reply, and saves nothing of a send that it refuses."""

from collections.abc import Callable
from typing import Any

import pytest

from conversations.exceptions import ShuttingDown
from conversations.models import Conversation, Message
from conversations.services.replies.store import live_replies
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sessions import open_session
from conversations.tests.factories import USER_ID, make_conversation, make_turns
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked() -> Message:
    """A question that has an answer."""
    return make_turns(make_conversation(), 1)[0]


@pytest.fixture(autouse=True)
def shutting_down(asked: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_replies, "_is_alive", lambda: False)


@pytest.mark.parametrize(
    ("verb", "names"), [(send_turn, {"content"}), (regenerate_turn, set()), (edit_turn, {"content", "message_id"})]
)
def test_no_verb_begins_a_reply(asked: Message, verb: Callable[..., Any], names: set[str]) -> None:
    question = {name: value for name, value in {"content": "hi", "message_id": asked.id}.items() if name in names}
    with pytest.raises(ShuttingDown):
        verb(conversation_id=asked.conversation_id, user_id=USER_ID, sampling=Sampling(), **question)
    assert Message.objects.count() == 2


def test_no_session_is_created() -> None:
    with pytest.raises(ShuttingDown):
        open_session(session_id="s", user_id=USER_ID)
    assert Conversation.objects.count() == 1
