"""A history of as many messages as a request may bring is stored."""

import uuid

import pytest

from conversations.models import Message
from conversations.services.sending.brought_messages import Said, add_messages
from conversations.surfaces.openai.openings import open_conversation
from conversations.surfaces.openai.requests import MOST_KNOWN_ITEMS
from conversations.tests.factories import USER_ID, make_conversation

pytestmark = pytest.mark.django_db
LONG = [Said(("user", "assistant")[at % 2], f"message {at}") for at in range(MOST_KNOWN_ITEMS)]


def stored(conversation_id: uuid.UUID) -> list[str]:
    messages = Message.objects.in_conversation(conversation_id).active_branch()
    return list(messages.order_by("created_at").values_list("content", flat=True))


def test_at_the_beginning_of_a_conversation() -> None:
    assert stored(open_conversation(user_id=USER_ID, history=LONG)) == [said.content for said in LONG]


def test_behind_its_last_message() -> None:
    conversation = make_conversation(USER_ID)
    for half in (LONG[:2], LONG[2:]):
        add_messages(conversation.id, half)
    assert stored(conversation.id) == [said.content for said in LONG]
