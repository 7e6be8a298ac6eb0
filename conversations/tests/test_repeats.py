"""A repeated request follows its own turn, and no other. Answers that are deleted or brought along."""

import pytest

from conversations.exceptions import MessageNotFound
from conversations.models import Conversation, Message
from conversations.services.replies.feedback import rate_reply
from conversations.services.sending.brought_messages import Said
from conversations.services.sending.turn import Turn
from conversations.surfaces.openai.deleting import delete_reply
from conversations.surfaces.openai.openings import open_conversation
from conversations.surfaces.openai.repeats import Same, find_repeated_turn, forget_ended_turns, note_delivered
from conversations.tests.factories import NOW, USER_ID, make_conversation, make_message, make_reply, make_running_reply

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


def ask(conversation: Conversation, **fields: str) -> Message:
    return make_message(conversation, "continue", request_fingerprint="same", created_at=NOW, **fields)


def same(conversation: Conversation) -> Same:
    return Same(USER_ID, "same", conversation.id)


def turn_of(reply: Message) -> Turn:
    assert reply.parent_id
    return Turn(reply.conversation_id, reply.parent_id, reply.id, request=None)


def test_a_repetition_follows_a_turn_whose_answer_is_missing(conversation: Conversation) -> None:
    reply = make_reply(ask(conversation))
    assert find_repeated_turn(same(conversation)) == turn_of(reply)
    note_delivered(turn_of(reply))
    assert find_repeated_turn(same(conversation)) is None


def test_a_refusal_leaves_only_running_turns_to_be_followed(conversation: Conversation) -> None:
    make_reply(ask(conversation))
    forget_ended_turns(same(conversation))
    assert find_repeated_turn(same(conversation)) is None
    running = make_running_reply(ask(conversation))
    forget_ended_turns(same(conversation))
    assert find_repeated_turn(same(conversation)) == turn_of(running)


def test_a_key_keeps_its_fingerprint(conversation: Conversation) -> None:
    asked = ask(conversation, idempotency_key="k")
    note_delivered(turn_of(make_reply(asked)))
    asked.refresh_from_db()
    assert asked.request_fingerprint == "same"


def test_of_the_answers_that_remain_the_newest_becomes_active(conversation: Conversation) -> None:
    asked = make_message(conversation)
    make_reply(asked, "first", is_active=False)
    second = make_reply(asked, "second", is_active=False)
    make_reply(asked, "", is_active=False, status="failed")
    delete_reply(reply_id=make_reply(asked, "third").id, user_id=USER_ID)
    assert list(conversation.messages.replies().active_branch()) == [second]


def test_what_a_client_brought_can_not_be_rated() -> None:
    made_id = open_conversation(user_id=USER_ID, history=[Said("user", "asked"), Said("assistant", "invented")])
    messages = Message.objects.in_conversation(made_id).oldest_first()
    assert [message.source for message in messages] == ["client", "client"]
    with pytest.raises(MessageNotFound):
        rate_reply(conversation_id=made_id, user_id=USER_ID, message_id=messages[1].id, rating=1)
