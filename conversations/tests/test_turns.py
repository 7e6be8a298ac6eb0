"""Beginning a reply: what is saved, what is refused, and what happens when everybody does it at once."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from conversations.exceptions import (
    ConversationNotFound,
    GenerationInProgress,
    IdempotencyMismatch,
    NothingToRegenerate,
    TooManyGenerations,
)
from conversations.models import TEMPORARY_LIFETIME, Assistant, Conversation, Message
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sending.retries import fingerprint_of
from conversations.services.sending.turn import Terms, Turn
from conversations.tests.concurrency import with_own_connections
from conversations.tests.factories import (
    NOON,
    USER_ID,
    make_conversation,
    make_message,
    make_reply,
    make_running_reply,
    make_turns,
)
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db
STRANGER = uuid.uuid4()


def send(conversation: Conversation, content: str = "hello", **more: Any) -> Turn:
    values = {"user_id": conversation.user_id, "sampling": Sampling(), **more}
    return send_turn(conversation_id=conversation.id, content=content, **values)


def regenerate(conversation: Conversation, **more: Any) -> Turn:
    values = {"user_id": conversation.user_id, "sampling": Sampling(), **more}
    return regenerate_turn(conversation_id=conversation.id, **values)


def edit(conversation: Conversation, message_id: uuid.UUID, content: str = "changed", **more: Any) -> Turn:
    values = {"user_id": conversation.user_id, "sampling": Sampling(), **more}
    return edit_turn(conversation_id=conversation.id, message_id=message_id, content=content, **values)


def end(turn: Turn, status: str = "complete", content: str = "an answer") -> None:
    Message.objects.filter(id=turn.reply_id).update(status=status, content=content)


def messages_of(conversation: Conversation) -> list[Message]:
    return list(conversation.messages.oldest_first())


# --- Sending -------------------------------------------------------------------------------------------------------------


def test_a_send_saves_the_question_and_an_empty_reply() -> None:
    conversation = make_conversation(model_tag="d32")
    turn = send(conversation, "hello")
    asked, reply = messages_of(conversation)
    assert (asked.id, reply.id) == (turn.user_message_id, turn.reply_id)
    assert (asked.role, asked.content, asked.status, asked.is_active) == ("user", "hello", "complete", True)
    assert (reply.role, reply.content, reply.status, reply.parent_id) == ("assistant", "", "streaming", asked.id)
    assert (reply.is_active, reply.model_tag) == (True, "d32")
    assert reply.heartbeat_at is not None
    assert reply.context == {"messages": 1, "characters": 5, "left_out": 0, "reason": None}
    assert turn.request is not None
    assert turn.request.messages == [{"role": "user", "content": "hello"}]


def test_a_send_is_the_newest_activity_and_names_the_conversation() -> None:
    conversation = make_conversation()
    send(conversation, "What is a samosa?")
    conversation.refresh_from_db()
    assert (conversation.title, conversation.title_source) == ("What is a samosa?", "auto")
    assert conversation.updated_at is not None and conversation.updated_at > NOON


@pytest.mark.parametrize(
    "fields", [{"title": "Mine", "title_source": "user"}, {"title": "New conversation", "title_source": "user"}]
)
def test_a_title_that_a_user_gave_stays(fields: dict[str, Any]) -> None:
    conversation = make_conversation(**fields)
    send(conversation)
    conversation.refresh_from_db()
    assert conversation.title == fields["title"]


def test_the_history_goes_along() -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    request = send(conversation, "more").request
    assert request is not None
    assert [message["content"] for message in request.messages] == ["question 1", "answer 1", "more"]


@pytest.mark.parametrize("user_id", [STRANGER, None])
def test_another_user_s_conversation_does_not_exist(user_id: uuid.UUID | None) -> None:
    conversation = make_conversation()
    for action in (send, regenerate):
        with pytest.raises(ConversationNotFound):
            action(conversation, user_id=user_id)
    assert messages_of(conversation) == []


def test_an_anonymous_conversation_is_no_user_s() -> None:
    conversation = make_conversation(None)
    with pytest.raises(ConversationNotFound):
        send(conversation, user_id=USER_ID)
    assert send(conversation, user_id=None).request is not None


def test_one_reply_at_a_time() -> None:
    conversation = make_conversation()
    turn = send(conversation)
    for action in (send, regenerate):
        with pytest.raises(GenerationInProgress) as refusal:
            action(conversation)
        assert refusal.value.extra == {"message_id": str(turn.reply_id)}
    assert len(messages_of(conversation)) == 2
    end(turn)
    send(conversation)


def test_a_reply_whose_worker_died_blocks_no_send() -> None:
    conversation = make_conversation()
    lost = make_running_reply(make_message(conversation), "half", heartbeat_age_s=31)
    send(conversation)
    lost.refresh_from_db()
    assert (lost.status, lost.content) == ("interrupted", "half")


@pytest.mark.parametrize("verb", ["send", "regenerate", "edit"])
def test_what_a_dead_worker_had_said_is_part_of_the_history(verb: str) -> None:
    conversation = make_conversation()
    make_running_reply(make_message(conversation, "long ago"), "half", heartbeat_age_s=31)
    if verb == "send":
        request = send(conversation).request
    else:
        asked = make_message(conversation, "hello")
        request = (regenerate(conversation) if verb == "regenerate" else edit(conversation, asked.id, "hello")).request
    assert request is not None
    assert [message["content"] for message in request.messages] == ["long ago", "half", "hello"]


def test_a_reply_that_was_alive_a_moment_ago_blocks() -> None:
    conversation = make_conversation()
    make_running_reply(make_message(conversation), heartbeat_age_s=20)
    with pytest.raises(GenerationInProgress):
        send(conversation)


# --- What a turn does to its conversation ---------------------------------------------------------------------------------


def take_turn(verb: str, conversation: Conversation) -> Turn:
    """Begin a turn by one of the verbs; the last question of the conversation is "What is tea?"."""
    asked = make_message(conversation, "What is tea?")
    make_reply(asked)
    if verb == "send":
        return send(conversation, "What is tea?")
    return regenerate(conversation) if verb == "regenerate" else edit(conversation, asked.id, "What is tea?")


VERBS = ["send", "regenerate", "edit"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_temporary_chat_is_kept_for_a_day_after_every_turn(verb: str) -> None:
    conversation = make_conversation(expires_at=datetime.now(UTC) + timedelta(minutes=1))
    take_turn(verb, conversation)
    conversation.refresh_from_db()
    assert conversation.expires_at is not None and conversation.updated_at is not None
    assert conversation.expires_at - conversation.updated_at == TEMPORARY_LIFETIME
    assert conversation.updated_at > NOON


@pytest.mark.parametrize("verb", VERBS)
def test_a_conversation_that_is_kept_gets_no_end(verb: str) -> None:
    conversation = make_conversation()
    take_turn(verb, conversation)
    conversation.refresh_from_db()
    assert conversation.expires_at is None


@pytest.mark.parametrize("verb", VERBS)
def test_every_turn_names_a_conversation_without_a_name(verb: str) -> None:
    conversation = make_conversation(title="New Chat")
    take_turn(verb, conversation)
    conversation.refresh_from_db()
    assert (conversation.title, conversation.title_source) == ("What is tea?", "auto")


@pytest.mark.parametrize("verb", VERBS)
def test_no_turn_renames_a_conversation(verb: str) -> None:
    conversation = make_conversation(title="Mine", title_source="user")
    take_turn(verb, conversation)
    conversation.refresh_from_db()
    assert (conversation.title, conversation.title_source) == ("Mine", "user")


# --- The assistant, the model, the sampling -------------------------------------------------------------------------------


def test_the_assistant_s_persona(settings: Any) -> None:
    settings.SYSTEM_PROMPT = "general"
    assistant = Assistant.objects.create(
        name="A", system_prompt="special", model_tag="d20", temperature=0.1, max_tokens=9, top_k=3
    )
    request = send(make_conversation(assistant=assistant), sampling=Sampling(temperature=0)).request
    assert request is not None
    assert (request.system_prompt, request.model_tag) == ("special", "d20")
    assert request.sampling == Sampling(temperature=0, max_tokens=9, top_k=3)


def test_a_conversation_s_own_model_comes_first() -> None:
    assistant = Assistant.objects.create(name="A", model_tag="d20")
    request = send(make_conversation(assistant=assistant, model_tag="d32")).request
    assert request is not None and request.model_tag == "d32"


def test_an_assistants_own_prompt_goes_before_the_thinking_prompt(settings: Any) -> None:
    settings.SYSTEM_PROMPT, settings.THINKING_PROMPT = "Be brief.", "Think first."
    thinking = Sampling(thinking_mode=True)
    own = make_conversation(assistant=Assistant.objects.create(name="A", system_prompt="You are a pirate."))
    for conversation, prompt in ((own, "You are a pirate."), (make_conversation(), "Think first.")):
        request = send(conversation, sampling=thinking).request
        assert request is not None
        assert request.system_prompt == prompt


def test_modes_that_are_off_leave_older_fingerprints_valid() -> None:
    older = {"temperature": 0, "max_tokens": None, "top_k": 5}
    assert fingerprint_of("hi", Sampling(temperature=0, top_k=5).choices()) == fingerprint_of("hi", older)
    assert fingerprint_of("hi", Sampling(temperature=0, top_k=5, thinking_mode=True).choices()) != fingerprint_of("hi", older)


@pytest.mark.parametrize("model_tag", [None, "", "default"])
def test_without_an_assistant_the_defaults(settings: Any, model_tag: str | None) -> None:
    settings.SYSTEM_PROMPT = "general"
    request = send(make_conversation(model_tag=model_tag)).request
    assert request is not None
    assert (request.system_prompt, request.model_tag) == ("general", "default")


# --- Sending again --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["streaming", "complete", "failed", "stopped"])
def test_a_repeated_send_is_the_same_turn(status: str) -> None:
    conversation = make_conversation()
    first = send(conversation, idempotency_key="k", sampling=Sampling(temperature=0.5))
    end(first, status)
    again = send(conversation, idempotency_key="k", sampling=Sampling(temperature=0.5))
    assert (again.user_message_id, again.reply_id) == (first.user_message_id, first.reply_id)
    assert again.request is None
    assert len(messages_of(conversation)) == 2


@pytest.mark.parametrize(
    "changes", [{"content": "another"}, {"sampling": Sampling(temperature=0.6)}, {"sampling": Sampling(top_k=1)}]
)
def test_a_key_is_for_one_body(changes: dict[str, Any]) -> None:
    conversation = make_conversation()
    send(conversation, content="hello", idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        send(conversation, **{"content": "hello", "idempotency_key": "k", **changes})
    assert len(messages_of(conversation)) == 2


def test_a_key_is_for_one_conversation() -> None:
    first, second = make_conversation(), make_conversation()
    assert send(first, idempotency_key="k").reply_id != send(second, idempotency_key="k").reply_id


def test_a_repeated_send_follows_the_first_answer_even_when_there_are_others() -> None:
    conversation = make_conversation()
    first = send(conversation, idempotency_key="k")
    end(first)
    end(regenerate(conversation))
    assert send(conversation, idempotency_key="k").reply_id == first.reply_id


def test_a_repeated_send_is_no_further_generation(settings: Any) -> None:
    settings.USER_MAX_GENERATIONS = 1
    conversation = make_conversation()
    first = send(conversation, idempotency_key="k")
    assert send(conversation, idempotency_key="k").reply_id == first.reply_id


# --- Limits ---------------------------------------------------------------------------------------------------------------


def test_the_most_replies_at_once(settings: Any) -> None:
    settings.USER_MAX_GENERATIONS = 2
    turns = [send(make_conversation()) for _ in range(2)]
    one_more = make_conversation()
    with pytest.raises(TooManyGenerations) as refusal:
        send(one_more)
    assert refusal.value.retry_after_s
    assert messages_of(one_more) == []
    send(make_conversation(STRANGER))
    end(turns[0])
    send(one_more)


def test_zero_is_no_limit(settings: Any) -> None:
    settings.USER_MAX_GENERATIONS = 0
    assert len([send(make_conversation()) for _ in range(10)]) == 10


# --- Regenerating ---------------------------------------------------------------------------------------------------------


def test_another_answer_stands_beside_the_first() -> None:
    conversation = make_conversation()
    asked, answer = make_turns(conversation, 1)
    turn = regenerate(conversation)
    new = Message.objects.get(id=turn.reply_id)
    assert (turn.user_message_id, new.parent_id, new.status, new.is_active) == (asked.id, asked.id, "streaming", False)
    answer.refresh_from_db()
    assert (answer.is_active, answer.content) == (True, "answer 1")
    assert turn.request is not None
    assert [message["content"] for message in turn.request.messages] == ["question 1"]


def test_the_answer_to_the_last_question_sees_what_was_before_it() -> None:
    conversation = make_conversation()
    make_turns(conversation, 2)
    request = regenerate(conversation).request
    assert request is not None
    assert [message["content"] for message in request.messages] == ["question 1", "answer 1", "question 2"]


def test_a_question_without_an_answer_gets_an_active_one() -> None:
    conversation = make_conversation()
    make_message(conversation)
    assert Message.objects.get(id=regenerate(conversation).reply_id).is_active is True


def test_nothing_was_asked() -> None:
    with pytest.raises(NothingToRegenerate):
        regenerate(make_conversation())


def test_the_predecessor_s_answers_are_adopted() -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    asked = make_message(conversation, "old question")
    old = make_reply(asked, "old answer", parent=None)
    regenerate(conversation)
    old.refresh_from_db()
    assert (old.parent_id, old.is_active) == (asked.id, True)


def test_regenerating_counts_as_a_generation(settings: Any) -> None:
    settings.USER_MAX_GENERATIONS = 1
    send(make_conversation())
    conversation = make_conversation()
    make_turns(conversation, 1)
    with pytest.raises(TooManyGenerations):
        regenerate(conversation)


# --- At once --------------------------------------------------------------------------------------------------------------


def outcomes(results: list[Any]) -> dict[str, int]:
    names = [type(result).__name__ for result in results]
    return {name: names.count(name) for name in set(names)}


@pytest.mark.django_db(transaction=True)
def test_of_many_sends_at_once_one_wins() -> None:
    conversation = make_conversation()
    results = with_own_connections(lambda number: send(conversation, f"message {number}"), 8)
    assert outcomes(results) == {"Turn": 1, "GenerationInProgress": 7}
    [winner] = [result for result in results if isinstance(result, Turn)]
    assert [message.id for message in messages_of(conversation)] == [winner.user_message_id, winner.reply_id]


@pytest.mark.django_db(transaction=True)
def test_sends_with_one_key_at_once_are_one_turn() -> None:
    conversation = make_conversation()
    results = with_own_connections(lambda _: send(conversation, idempotency_key="k"), 8)
    assert outcomes(results) == {"Turn": 8}
    assert len({result.reply_id for result in results}) == 1
    assert sum(result.request is not None for result in results) == 1
    assert len(messages_of(conversation)) == 2


@pytest.mark.django_db(transaction=True)
def test_regenerating_at_once_makes_one_answer() -> None:
    conversation = make_conversation()
    make_turns(conversation, 1)
    results = with_own_connections(lambda _: regenerate(conversation), 6)
    assert outcomes(results) == {"Turn": 1, "GenerationInProgress": 5}
    assert len(messages_of(conversation)) == 3


@pytest.mark.django_db(transaction=True)
def test_the_limit_holds_when_everything_is_sent_at_once(settings: Any) -> None:
    settings.USER_MAX_GENERATIONS = 3
    conversations = [make_conversation() for _ in range(8)]
    results = with_own_connections(lambda number: send(conversations[number]), 8)
    assert outcomes(results) == {"Turn": 3, "TooManyGenerations": 5}
    assert Message.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_a_running_reply_that_slips_past_the_lock_is_the_same_refusal() -> None:
    """The unique index, not the lock, is what counts: a writer that takes no lock meets it too."""
    conversation = make_conversation()
    asked = make_message(conversation)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION slip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO messages (conversation_id, role, content, status, heartbeat_at) "
            "VALUES (new.conversation_id, 'assistant', '', 'streaming', now()); RETURN new; END $$;"
            "CREATE TRIGGER slip BEFORE INSERT ON messages FOR EACH ROW WHEN (new.role = 'user') EXECUTE FUNCTION slip()"
        )
    try:
        with pytest.raises(GenerationInProgress):
            send(conversation)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER slip ON messages; DROP FUNCTION slip()")
    assert messages_of(conversation) == [asked]


# --- For one reply only ---------------------------------------------------------------------------------------------------


def test_an_assistant_answers_once() -> None:
    usual = Assistant.objects.create(name="Usual", system_prompt="Be brief.", temperature=0.1)
    other = Assistant.objects.create(name="Other", system_prompt="Be long.", model_tag="d32", temperature=0.9, max_tokens=9)
    conversation = make_conversation(assistant=usual)
    turn = send(conversation, terms=Terms(assistant=other))
    assert turn.request is not None
    assert (turn.request.system_prompt, turn.request.model_tag) == ("Be long.", "d32")
    assert (turn.request.sampling.temperature, turn.request.sampling.max_tokens) == (0.9, 9)
    end(turn)
    again = regenerate(conversation)
    assert again.request is not None
    assert (again.request.system_prompt, again.request.sampling.temperature) == ("Be brief.", 0.1)
    end(again)
    conversation.refresh_from_db()
    assert conversation.assistant == usual


@pytest.mark.parametrize("verb", ["edit", "regenerate"])
def test_another_model_answers_an_old_question_once(verb: str) -> None:
    conversation = make_conversation(model_tag="d32")
    first = send(conversation)
    end(first)
    terms = Terms(model_tag="d48")
    turn = (
        regenerate(conversation, terms=terms)
        if verb == "regenerate"
        else edit(conversation, first.user_message_id, terms=terms)
    )
    assert turn.request is not None
    assert (turn.request.model_tag, Message.objects.get(id=turn.reply_id).model_tag) == ("d48", "d48")
    conversation.refresh_from_db()
    assert conversation.model_tag == "d32"


def test_what_older_requests_did_not_know_changes_no_fingerprint() -> None:
    assert set(Sampling().choices()) == {"temperature", "max_tokens", "top_k"}
    assert Terms().choices() == {}
