"""Several answers, several versions of a turn: what counts is chosen, and nothing that was there goes away."""

import pytest

from tests.support.client import Client
from tests.support.steps import Step, die, done, head, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream


@pytest.fixture
def answered(client: Client, conversation: str, upstream: ScriptedUpstream) -> str:
    """A conversation of two turns, the second with two answers, of which "second" counts."""
    for question, answer in (("question one", "earlier"), ("question two", "first")):
        upstream.script(tokens(answer), done())
        client.ask(conversation, question)
    upstream.script(tokens("second"), done())
    client.regenerate(conversation).finish()
    return conversation


def active_texts(client: Client, conversation: str) -> list[str]:
    return [item["content"] for item in client.conversation(conversation)["messages"]]


def find(client: Client, conversation: str, content: str) -> str:
    (message,) = [item for item in client.messages(conversation) if item["content"] == content]
    return str(message["id"])


def activate(client: Client, conversation: str, message_id: str) -> int:
    return client.request("POST", f"/api/conversations/{conversation}/messages/{message_id}/activate").status


def edit(client: Client, conversation: str, message_id: str, content: str) -> int:
    path = f"/api/conversations/{conversation}/messages/{message_id}"
    return client.request("PUT", path, {"content": content, "stream": False}).status


def test_an_earlier_answer_can_be_chosen_again(client: Client, answered: str) -> None:
    assert activate(client, answered, find(client, answered, "first")) == 200
    assert active_texts(client, answered) == ["question one", "earlier", "question two", "first"]


def test_the_chosen_answer_is_what_the_model_sees(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    activate(client, answered, find(client, answered, "first"))
    upstream.script(tokens("fine"), done())
    client.ask(answered, "question three")
    contents = [message["content"] for message in upstream.generations()[-1].messages]
    assert contents == ["question one", "earlier", "question two", "first", "question three"]


def test_editing_the_last_question_makes_a_new_version(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("better"), done())
    assert edit(client, answered, find(client, answered, "question two"), "question two, again") == 200
    assert active_texts(client, answered) == ["question one", "earlier", "question two, again", "better"]
    sent = [message["content"] for message in upstream.generations()[-1].messages]
    assert sent == ["question one", "earlier", "question two, again"]
    everything = {item["content"] for item in client.messages(answered)}
    assert everything == {"question one", "earlier", "question two", "first", "second", "question two, again", "better"}


def test_the_old_version_of_a_turn_can_be_had_back(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("better"), done())
    edit(client, answered, find(client, answered, "question two"), "question two, again")
    assert activate(client, answered, find(client, answered, "question two")) == 200
    assert active_texts(client, answered) == ["question one", "earlier", "question two", "second"]
    assert activate(client, answered, find(client, answered, "question two, again")) == 200
    assert active_texts(client, answered) == ["question one", "earlier", "question two, again", "better"]


@pytest.mark.parametrize("failure", [(respond("500 Internal Server Error"),), (head(), die())], ids=["refused", "accepted"])
def test_a_refused_edit_leaves_the_old_turn_in_place(
    client: Client, answered: str, upstream: ScriptedUpstream, failure: tuple[Step, ...]
) -> None:
    activate(client, answered, find(client, answered, "first"))
    upstream.script(*failure)
    assert edit(client, answered, find(client, answered, "question two"), "question two, again") == 502
    assert active_texts(client, answered) == ["question one", "earlier", "question two", "first"]
    upstream.script(tokens("better"), done())
    assert edit(client, answered, find(client, answered, "question two"), "question two, better") == 200
    assert active_texts(client, answered) == ["question one", "earlier", "question two, better", "better"]


def test_a_failed_regeneration_does_not_count_after_switching_away_and_back(
    client: Client, answered: str, upstream: ScriptedUpstream
) -> None:
    activate(client, answered, find(client, answered, "first"))
    upstream.script(tokens("broken"), die())
    client.regenerate(answered).finish()
    upstream.script(tokens("better"), done())
    edit(client, answered, find(client, answered, "question two"), "question two, again")
    assert activate(client, answered, find(client, answered, "question two")) == 200
    assert active_texts(client, answered) == ["question one", "earlier", "question two", "first"]


@pytest.mark.parametrize("change", [activate, lambda *args: edit(*args, "changed")], ids=["activate", "edit"])
def test_nothing_changes_while_a_reply_is_written(
    client: Client, answered: str, upstream: ScriptedUpstream, change: object
) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("slow"), done())
    question = find(client, answered, "question two")
    stream = client.send(answered, "question three")
    before = client.messages(answered)
    assert change(client, answered, question) == 409  # type: ignore[operator]
    assert client.messages(answered) == before
    gate.open()
    stream.finish()


def test_only_questions_can_be_edited(client: Client, answered: str) -> None:
    before = client.messages(answered)
    assert edit(client, answered, find(client, answered, "earlier"), "changed") == 400
    assert edit(client, answered, "00000000-0000-4000-8000-000000000000", "changed") == 404
    assert client.messages(answered) == before
