"""Which answer counts is remembered for each version of a turn."""

from typing import Any
from uuid import UUID

import pytest

from conversations.models import Conversation, Message
from conversations.services.replies.versions import activate_message, activate_newest_answer
from conversations.services.sending.begin import edit_turn, regenerate_turn
from conversations.services.sending.turn import Turn
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_reply
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


def activate(message: Message | UUID) -> None:
    message_id = message if isinstance(message, UUID) else message.id
    conversation_id = Message.objects.values_list("conversation_id", flat=True).get(id=message_id)
    activate_message(conversation_id=conversation_id, user_id=USER_ID, message_id=message_id)


def edit(asked: Message, content: str) -> Turn:
    return edit_turn(
        conversation_id=asked.conversation_id, user_id=USER_ID, message_id=asked.id, content=content, sampling=Sampling()
    )


def regenerate(conversation: Conversation) -> Turn:
    return regenerate_turn(conversation_id=conversation.id, user_id=USER_ID, sampling=Sampling())


def active_texts(conversation: Conversation) -> list[str]:
    return list(conversation.messages.active_branch().oldest_first().values_list("content", flat=True))


@pytest.mark.parametrize("text", ["", "half"], ids=["empty", "with text"])
def test_a_failed_regeneration_does_not_count_after_switching_away_and_back(conversation: Conversation, text: str) -> None:
    asked = make_message(conversation, "question")
    make_reply(asked, "good")
    end(regenerate(conversation), "failed", text)
    end(edit(asked, "edited"), "complete", "other")
    assert active_texts(conversation) == ["edited", "other"]
    activate(asked)
    assert active_texts(conversation) == ["question", "good"]


def test_the_answer_that_was_chosen_counts_after_switching_away_and_back(conversation: Conversation) -> None:
    asked = make_message(conversation, "question")
    older = make_reply(asked, "older")
    end(regenerate(conversation), "complete", "newer")
    activate(older)
    edited = edit(asked, "edited")
    end(edited, "complete", "other")
    activate(asked)
    assert active_texts(conversation) == ["question", "older"]
    activate(edited.user_message_id)
    assert active_texts(conversation) == ["edited", "other"]


def test_each_version_remembers_its_own_answer(conversation: Conversation) -> None:
    versions = [make_message(conversation, "v0")]
    answers = {versions[0].id: [make_reply(versions[0], "v0 a0")]}
    for number in (1, 2):
        turn = edit(versions[-1], f"v{number}")
        end(turn, "complete", f"v{number} a0")
        versions.append(Message.objects.get(id=turn.user_message_id))
        again = regenerate(conversation)
        end(again, "complete", f"v{number} a1")
        answers[turn.user_message_id] = list(Message.objects.filter(id__in=[turn.reply_id, again.reply_id]).oldest_first())
    chosen = {version.id: answers[version.id][-1] for version in versions}
    for position, pick in ((1, 0), (0, 0), (2, 0), (1, 1), (2, 1), (1, 0), (0, 0), (2, 0)):
        version = versions[position]
        activate(version)
        assert active_texts(conversation) == [version.content, chosen[version.id].content]
        chosen[version.id] = answers[version.id][pick]
        activate(chosen[version.id])
        assert active_texts(conversation) == [version.content, chosen[version.id].content]


@pytest.mark.parametrize(
    ("answers", "counts"),
    [
        ([("good", "complete"), ("half", "failed")], "good"),
        ([("good", "stopped"), ("", "failed")], "good"),
        ([("one", "complete"), ("two", "complete")], "two"),
        ([("half", "interrupted"), ("", "complete")], "half"),
        ([("", "failed")], ""),
    ],
)
def test_where_nothing_is_remembered_the_newest_whole_answer_counts(
    conversation: Conversation, answers: list[Any], counts: str
) -> None:
    """Rows from before this was remembered."""
    old = make_message(conversation, "question", is_active=False)
    for text, status in answers:
        make_reply(old, text, status=status, is_active=False)
    make_reply(make_message(conversation, "edited", parent=old), "other")
    activate(old)
    assert active_texts(conversation) == ["question", counts]


def test_of_the_answers_that_are_left_the_newest_whole_one_counts(conversation: Conversation) -> None:
    asked = make_message(conversation, "question")
    for text, status in [("whole", "complete"), ("newer", "stopped"), ("half", "interrupted"), ("", "complete")]:
        make_reply(asked, text, status=status, is_active=False)
    for expected in ("newer", "whole", "half", ""):
        activate_newest_answer(conversation.messages.all(), asked.id)
        assert active_texts(conversation) == ["question", expected]
        active = conversation.messages.filter(parent=asked, is_active=True)
        active.update(parent=None, is_active=False)
