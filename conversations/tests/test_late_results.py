"""The result of a reply that was taken for dead: which answer counts then.

An answer that is whole counts over one that broke off, unless a person has chosen otherwise in the meantime.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models.functions import Now

from conversations.models import Conversation, Message
from conversations.services.replies.ending import interrupt_if_abandoned
from conversations.services.replies.versions import activate_message
from conversations.services.sending.begin import continue_turn, edit_turn, regenerate_turn, send_turn
from conversations.services.sending.turn import Turn
from conversations.tests.concurrency import with_own_connections
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_reply
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


def send(conversation: Conversation, content: str = "question") -> Turn:
    return send_turn(
        conversation_id=conversation.id, user_id=USER_ID, content=content, sampling=Sampling(), idempotency_key=content
    )


def regenerate(conversation: Conversation) -> Turn:
    return regenerate_turn(conversation_id=conversation.id, user_id=USER_ID, sampling=Sampling())


def edit(turn: Turn) -> Turn:
    [conversation_id] = Message.objects.filter(id=turn.reply_id).values_list("conversation_id", flat=True)
    return edit_turn(
        conversation_id=conversation_id,
        user_id=USER_ID,
        message_id=turn.user_message_id,
        content="edited",
        sampling=Sampling(),
    )


def activate(message_id: UUID) -> None:
    conversation_id = Message.objects.values_list("conversation_id", flat=True).get(id=message_id)
    activate_message(conversation_id=conversation_id, user_id=USER_ID, message_id=message_id)


def take_for_dead(turn: Turn) -> Turn:
    """Mark a reply `interrupted` while its worker goes on."""
    Message.objects.filter(id=turn.reply_id).update(heartbeat_at=Now() - timedelta(minutes=1))
    assert interrupt_if_abandoned(turn.reply_id)
    return turn


def branch(conversation: Conversation) -> list[str]:
    return list(conversation.messages.active_branch().oldest_first().values_list("content", flat=True))


@pytest.fixture
def lost(conversation: Conversation) -> Turn:
    """A second answer that was taken for dead. The first one broke off."""
    end(send(conversation), "interrupted", "half")
    return take_for_dead(regenerate(conversation))


@pytest.mark.parametrize("status", ["complete", "stopped"])
@pytest.mark.parametrize("before", ["interrupted", "failed"])
def test_it_counts_over_an_answer_that_broke_off(conversation: Conversation, before: Any, status: Any) -> None:
    end(send(conversation), before, "half")
    lost = take_for_dead(regenerate(conversation))
    assert branch(conversation) == ["question", "half"]
    end(lost, status, "whole")
    assert branch(conversation) == ["question", "whole"]


@pytest.mark.parametrize(
    ("status", "text"), [("complete", ""), ("stopped", ""), ("failed", "longer"), ("interrupted", "longer")]
)
def test_it_does_not_count_if_it_came_to_nothing_itself(conversation: Conversation, lost: Turn, status: Any, text: str) -> None:
    end(lost, status, text)
    assert branch(conversation) == ["question", "half"]


@pytest.mark.parametrize("status", ["complete", "stopped"])
def test_it_takes_no_place_of_an_answer_that_is_whole(conversation: Conversation, status: Any) -> None:
    end(send(conversation), status, "first")
    end(take_for_dead(regenerate(conversation)), "complete", "late")
    assert branch(conversation) == ["question", "first"]


def test_it_takes_no_place_of_calls_of_tools(conversation: Conversation) -> None:
    asked = make_message(conversation, "question")
    calls = make_reply(asked, "", tool_calls=[{"id": "call", "name": "look", "arguments": "{}"}])
    end(take_for_dead(regenerate(conversation)), "complete", "late")
    assert Message.objects.get(id=calls.id).is_active


def test_it_changes_nothing_if_the_conversation_went_on(conversation: Conversation, lost: Turn) -> None:
    end(send(conversation, "next"), "complete", "next answer")
    end(lost, "complete", "whole")
    assert branch(conversation) == ["question", "half", "next", "next answer"]


def test_it_changes_nothing_if_the_question_was_edited(conversation: Conversation, lost: Turn) -> None:
    edited = edit(lost)
    end(lost, "complete", "whole")
    assert branch(conversation) == ["edited", ""]
    end(edited, "failed", "other")
    assert branch(conversation) == ["edited", "other"]


def test_it_changes_nothing_if_the_answer_that_broke_off_is_being_continued(conversation: Conversation, lost: Turn) -> None:
    first = conversation.messages.get(content="half")
    continued = continue_turn(conversation_id=conversation.id, user_id=USER_ID, reply_id=first.id, sampling=Sampling())
    end(lost, "complete", "whole")
    assert branch(conversation) == ["question", "half"]
    end(continued, "complete", "half and the rest", continuation=1)
    assert branch(conversation) == ["question", "half and the rest"]


def test_it_changes_nothing_if_a_person_left_it_for_an_older_answer(conversation: Conversation) -> None:
    end(send(conversation), "interrupted", "half")
    first = conversation.messages.get(content="half")
    lost = take_for_dead(regenerate(conversation))
    activate(lost.reply_id)
    activate(first.id)
    end(lost, "complete", "whole")
    assert branch(conversation) == ["question", "half"]


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [("complete", "newer", "newer"), ("stopped", "newer", "newer"), ("interrupted", "newer", "late"), ("failed", "", "late")],
)
@pytest.mark.parametrize("order", ["late result first", "late result last"])
def test_a_retry_counts_over_it_if_it_comes_to_something(
    conversation: Conversation, status: Any, text: str, expected: str, order: str
) -> None:
    """A retry finds the first attempt dead and without text, so its own answer is active from the start."""
    lost = take_for_dead(send(conversation))
    retry = send(conversation)
    assert retry.reply_id != lost.reply_id
    if order == "late result first":
        end(lost, "complete", "late")
        assert branch(conversation) == ["question", "late"]
        end(retry, status, text)
    else:
        end(retry, status, text)
        end(lost, "complete", "late")
    assert branch(conversation) == ["question", expected]


@pytest.mark.parametrize("meanwhile", ["nothing", "the conversation went on", "the user left and came back", "a stop"])
def test_an_edit_that_is_refused_late_gives_back_the_former_version(conversation: Conversation, meanwhile: str) -> None:
    first = send(conversation)
    end(first, "complete", "answer")
    edited = take_for_dead(edit(first))
    expected = ["edited", ""]
    if meanwhile == "nothing":
        expected = ["question", "answer"]
    elif meanwhile == "the conversation went on":
        end(send(conversation, "next"), "complete", "next answer")
        expected += ["next", "next answer"]
    elif meanwhile == "the user left and came back":
        activate(first.user_message_id)
        activate(edited.user_message_id)
    else:
        Message.objects.filter(id=edited.reply_id).update(stop_requested=True)
    end(edited, "failed", "")
    assert branch(conversation) == expected


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("text", ["half", ""])
@pytest.mark.parametrize("_attempt", range(3))
def test_one_answer_counts_when_many_results_come_at_once(conversation: Conversation, text: str, _attempt: int) -> None:
    end(send(conversation), "interrupted", text)
    turns = [take_for_dead(regenerate(conversation)), take_for_dead(regenerate(conversation)), regenerate(conversation)]
    assert with_own_connections(lambda number: end(turns[number], "complete", f"answer {number}"), 3) == [None] * 3
    assert len(branch(conversation)) == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", [0, 1, 0, 1])
def test_what_follows_an_answer_is_never_left_without_it(conversation: Conversation, first: int) -> None:
    """A message is sent in the moment in which the late result comes: either the one or the other was first."""
    end(send(conversation), "interrupted", "half")
    lost = take_for_dead(regenerate(conversation))

    def act(number: int) -> None:
        if number == first:
            end(lost, "complete", "whole")
        else:
            end(send(conversation, "next"), "complete", "next answer")

    assert with_own_connections(act, 2) == [None] * 2
    question, answer, *_ = conversation.messages.active_branch().oldest_first()
    following = conversation.messages.get(content="next")
    assert (question.content, following.is_active, following.follows_id) == ("question", True, answer.id)
