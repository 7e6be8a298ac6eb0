"""A retry with the same Idempotency-Key: it finds the first attempt, or starts it anew where that came to nothing."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from conversations.exceptions import GenerationInProgress, IdempotencyMismatch, TooManyGenerations
from conversations.models import Conversation, Message
from conversations.services.replies.versions import activate_message
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sending.turn import Turn
from conversations.tests.concurrency import with_own_connections
from conversations.tests.ending import end
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_reply, make_running_reply, make_turns
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    return make_conversation()


def send(conversation: Conversation, content: str = "hello", key: str = "k") -> Turn:
    return send_turn(
        conversation_id=conversation.id, user_id=USER_ID, content=content, sampling=Sampling(), idempotency_key=key
    )


def edit(asked: uuid.UUID, content: str = "edited", key: str = "k", **sampling: Any) -> Turn:
    conversation_id = Message.objects.values_list("conversation_id", flat=True).get(id=asked)
    return edit_turn(
        conversation_id=conversation_id,
        user_id=USER_ID,
        message_id=asked,
        content=content,
        sampling=Sampling(**sampling),
        idempotency_key=key,
    )


def regenerate(conversation: Conversation, key: str = "k", **sampling: Any) -> Turn:
    return regenerate_turn(conversation_id=conversation.id, user_id=USER_ID, sampling=Sampling(**sampling), idempotency_key=key)


def branch(conversation: Conversation) -> list[tuple[str, str]]:
    """What counts: contents and statuses, oldest first."""
    return list(conversation.messages.active_branch().oldest_first().values_list("content", "status"))


def contents(turn: Turn) -> list[str]:
    assert turn.request is not None
    return [message["content"] for message in turn.request.messages]


def lose_worker(turn: Turn) -> None:
    """Let the worker of a reply die before it begins."""
    Message.objects.filter(id=turn.reply_id).update(heartbeat_at=Now() - timedelta(minutes=1))


# --- Sending --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_retry_answers_the_same_question(conversation: Conversation, status: Any) -> None:
    make_turns(conversation, 1)
    first = send(conversation)
    end(first, status, "")
    retry = send(conversation)
    assert retry.user_message_id == first.user_message_id
    assert retry.reply_id != first.reply_id
    assert contents(retry) == ["question 1", "answer 1", "hello"]
    end(retry)
    assert [text for text, _ in branch(conversation)] == ["question 1", "answer 1", "hello", "an answer"]
    again = send(conversation)
    assert (again.reply_id, again.request) == (retry.reply_id, None)
    replies = conversation.messages.filter(parent_id=first.user_message_id)
    assert dict(replies.values_list("id", "is_active")) == {first.reply_id: False, retry.reply_id: True}


def test_a_retry_of_a_retry_works_too(conversation: Conversation) -> None:
    turns = []
    for _ in range(3):
        turns.append(send(conversation))
        assert turns[-1].request is not None
        assert branch(conversation) == [("hello", "complete"), ("", "streaming")]
        end(turns[-1], "failed", "")
    turns.append(send(conversation))
    assert len({turn.reply_id for turn in turns}) == 4
    assert len({turn.user_message_id for turn in turns}) == 1


@pytest.mark.parametrize(("status", "text"), [("complete", ""), ("stopped", ""), ("failed", "half"), ("interrupted", "half")])
def test_a_reply_that_said_something_or_ended_on_purpose_is_followed(
    conversation: Conversation, status: Any, text: str
) -> None:
    first = send(conversation)
    end(first, status, text)
    retry = send(conversation)
    assert (retry.reply_id, retry.request) == (first.reply_id, None)


def test_a_retry_takes_over_from_a_worker_that_died_before_it_began(conversation: Conversation) -> None:
    first = send(conversation)
    lose_worker(first)
    retry = send(conversation)
    assert retry.request is not None and retry.user_message_id == first.user_message_id
    assert Message.objects.get(id=first.reply_id).status == "interrupted"
    assert branch(conversation) == [("hello", "complete"), ("", "streaming")]


def test_a_retry_counts_over_the_late_result_of_a_worker_that_was_taken_for_dead(conversation: Conversation) -> None:
    first = send(conversation)
    lose_worker(first)
    retry = send(conversation)
    end(first, "complete", "late")
    end(retry, "complete", "in time")
    assert branch(conversation) == [("hello", "complete"), ("in time", "complete")]


def test_a_question_that_was_answered_by_regenerating_is_not_answered_again(conversation: Conversation) -> None:
    first = send(conversation)
    end(first, "failed", "")
    other = regenerate(conversation, key="")
    end(other)
    retry = send(conversation)
    assert (retry.reply_id, retry.request) == (other.reply_id, None)


@pytest.mark.django_db(transaction=True)
def test_a_late_retry_asks_its_question_again_at_the_end(conversation: Conversation) -> None:
    first = send(conversation)
    end(first, "failed", "")
    end(send(conversation, "meanwhile", key="other"), "complete", "fine")
    retry = send(conversation)
    assert retry.user_message_id != first.user_message_id
    end(retry, "complete", "at last")
    order = list(conversation.messages.oldest_first().values_list("id", flat=True))
    # The failed turn stays where it was.
    assert order[:2] == [first.user_message_id, first.reply_id]
    assert order[-2:] == [retry.user_message_id, retry.reply_id]
    repeated = send(conversation)
    assert (repeated.reply_id, repeated.request) == (retry.reply_id, None)
    with pytest.raises(IdempotencyMismatch):
        send(conversation, "another text")


def test_a_question_that_was_edited_since_is_not_answered(conversation: Conversation) -> None:
    first = send(conversation)
    end(first, "failed", "")
    end(edit(first.user_message_id, "better", key=""))
    retry = send(conversation)
    assert (retry.reply_id, retry.request) == (first.reply_id, None)
    assert [text for text, _ in branch(conversation)] == ["better", "an answer"]


def test_a_retry_is_a_generation_like_any_other(conversation: Conversation, settings: Any) -> None:
    settings.USER_MAX_GENERATIONS = 1
    first = send(conversation)
    end(first, "failed", "")
    elsewhere = send(make_conversation())
    with pytest.raises(TooManyGenerations):
        send(conversation)
    end(elsewhere)
    other = send(conversation, "other", key="other")
    with pytest.raises(GenerationInProgress):
        send(conversation)
    end(other)
    assert send(conversation).request is not None


@pytest.mark.django_db(transaction=True)
def test_retries_at_once_make_one_reply() -> None:
    conversation = make_conversation()
    first = send(conversation)
    end(first, "failed", "")
    results = with_own_connections(lambda _: send(conversation), 8)
    assert len({result.reply_id for result in results}) == 1
    assert sum(result.request is not None for result in results) == 1
    assert conversation.messages.count() == 3


# --- Editing --------------------------------------------------------------------------------------------------------------


def test_a_repeated_edit_is_one_version(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    first = edit(asked.id)
    repeated = edit(asked.id)
    assert (repeated.user_message_id, repeated.reply_id, repeated.request) == (first.user_message_id, first.reply_id, None)
    end(first)
    assert edit(asked.id).reply_id == first.reply_id
    assert conversation.messages.count() == 4


def test_a_refused_edit_leaves_the_old_turn_active(conversation: Conversation) -> None:
    asked, answer = make_turns(conversation, 1)
    make_reply(asked, "another", is_active=False)
    end(edit(asked.id, key=""), "failed", "")
    assert branch(conversation) == [("question 1", "complete"), ("answer 1", "complete")]
    assert conversation.messages.count() == 5
    assert answer.id in conversation.messages.active_branch().values_list("id", flat=True)


@pytest.mark.parametrize(("status", "text"), [("complete", ""), ("stopped", ""), ("failed", "half"), ("interrupted", "")])
def test_an_edit_that_was_not_refused_counts(conversation: Conversation, status: Any, text: str) -> None:
    asked, _ = make_turns(conversation, 1)
    end(edit(asked.id, key=""), status, text)
    assert branch(conversation) == [("edited", "complete"), (text, status)]


def test_a_refused_regeneration_of_an_edited_question_leaves_it_active(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    end(edit(asked.id, key=""), "stopped", "")
    end(regenerate(conversation, key=""), "failed", "")
    assert branch(conversation)[0] == ("edited", "complete")


def test_a_retry_of_a_refused_edit_answers_the_same_version(conversation: Conversation) -> None:
    make_turns(conversation, 1)
    asked = make_message(conversation, "question 2")
    make_reply(asked, "answer 2")
    first = edit(asked.id)
    end(first, "failed", "")
    second = edit(asked.id)
    assert second.user_message_id == first.user_message_id and second.reply_id != first.reply_id
    assert contents(second) == ["question 1", "answer 1", "edited"]
    end(second, "failed", "")
    assert [text for text, _ in branch(conversation)] == ["question 1", "answer 1", "question 2", "answer 2"]
    end(edit(asked.id))
    assert [text for text, _ in branch(conversation)] == ["question 1", "answer 1", "edited", "an answer"]
    activate_message(conversation_id=conversation.id, user_id=USER_ID, message_id=asked.id)
    assert [text for text, _ in branch(conversation)] == ["question 1", "answer 1", "question 2", "answer 2"]


def test_a_retry_of_an_edit_whose_worker_died_answers_it(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    first = edit(asked.id)
    lose_worker(first)
    second = edit(asked.id)
    assert second.request is not None and second.user_message_id == first.user_message_id
    end(second)
    assert [text for text, _ in branch(conversation)] == ["edited", "an answer"]


def test_a_retry_of_an_edit_that_was_overtaken_is_an_answer_to_that_version(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    first = edit(asked.id)
    end(first, "failed", "")
    end(edit(asked.id, "edited otherwise", key="other"))
    again = edit(asked.id)
    assert again.user_message_id == first.user_message_id
    end(again)
    assert [text for text, _ in branch(conversation)] == ["edited", "an answer"]
    assert conversation.messages.filter(role="user").count() == 3


# --- Regenerating ---------------------------------------------------------------------------------------------------------


def test_a_repeated_regeneration_is_one_answer(conversation: Conversation) -> None:
    make_turns(conversation, 1)
    first = regenerate(conversation)
    repeated = regenerate(conversation)
    assert (repeated.user_message_id, repeated.reply_id, repeated.request) == (first.user_message_id, first.reply_id, None)
    end(first, "complete", "new")
    end(send(conversation, "next", key=""))
    assert regenerate(conversation).reply_id == first.reply_id
    assert conversation.messages.count() == 5


def test_a_retry_of_a_failed_regeneration_is_another_answer(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    turns = []
    for _ in range(3):
        turns.append(regenerate(conversation))
        assert turns[-1].request is not None and turns[-1].user_message_id == asked.id
        assert [text for text, _ in branch(conversation)] == ["question 1", "answer 1"]
        end(turns[-1], "failed", "")
    last = regenerate(conversation)
    end(last, "complete", "new")
    assert [text for text, _ in branch(conversation)] == ["question 1", "new"]
    assert regenerate(conversation).reply_id == last.reply_id
    assert len({turn.reply_id for turn in [*turns, last]}) == 4


def test_a_retry_of_a_failed_regeneration_answers_the_same_question_after_other_turns(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    end(regenerate(conversation), "failed", "")
    end(send(conversation, "next", key=""))
    again = regenerate(conversation)
    assert again.user_message_id == asked.id
    end(again)
    assert [text for text, _ in branch(conversation)] == ["question 1", "an answer"]


def test_where_no_answer_has_text_the_new_one_counts_at_once(conversation: Conversation) -> None:
    make_reply(make_message(conversation, "question"), "", status="failed")
    turn = regenerate(conversation)
    assert branch(conversation) == [("question", "complete"), ("", "streaming")]
    end(turn, "failed", "half")
    assert branch(conversation) == [("question", "complete"), ("half", "failed")]


@pytest.mark.django_db(transaction=True)
def test_repeated_verbs_at_once_are_one_turn() -> None:
    edited, regenerated = make_conversation(), make_conversation()
    asked, _ = make_turns(edited, 1)
    make_turns(regenerated, 1)
    for repeat in (lambda _: edit(asked.id), lambda _: regenerate(regenerated)):
        results = with_own_connections(repeat, 6)
        assert len({result.reply_id for result in results}) == 1
        assert sum(result.request is not None for result in results) == 1


# --- One key, one request -------------------------------------------------------------------------------------------------


def test_a_key_is_for_one_verb_target_and_body(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    end(edit(asked.id, key="edit"))
    version = conversation.messages.active_branch().filter(role="user").get()
    end(regenerate(conversation, key="regenerate"))
    end(send(conversation, "regenerate", key="send"))
    for other in (
        lambda: edit(asked.id, "other words", key="edit"),
        lambda: edit(asked.id, key="edit", temperature=0.1),
        lambda: edit(version.id, key="edit"),
        lambda: edit(asked.id, key="send"),
        lambda: send(conversation, "edited", key="edit"),
        lambda: send(conversation, "edited", key="regenerate"),
        lambda: regenerate(conversation, key="edit"),
        lambda: regenerate(conversation, key="send"),
        lambda: regenerate(conversation, key="regenerate", temperature=0.1),
    ):
        with pytest.raises(IdempotencyMismatch):
            other()


def test_a_repeat_is_followed_while_another_reply_runs(conversation: Conversation) -> None:
    asked, _ = make_turns(conversation, 1)
    first = edit(asked.id)
    end(first)
    make_running_reply(make_message(conversation))
    assert edit(asked.id).reply_id == first.reply_id
