"""A new answer beside the old one, which counts only when it is there."""

import pytest

from tests.support.client import Client
from tests.support.steps import Step, die, done, hold, respond, stall, tokens
from tests.support.upstream import ScriptedUpstream


@pytest.fixture
def answered(client: Client, conversation: str, upstream: ScriptedUpstream) -> str:
    """A conversation of two turns, the second answered with "old"."""
    upstream.script(tokens("earlier"), done())
    client.ask(conversation, "question one")
    upstream.script(tokens("old"), done())
    client.ask(conversation, "question two")
    return conversation


def active_texts(client: Client, conversation: str) -> list[str]:
    """The messages that count, oldest first."""
    return [item["content"] for item in client.conversation(conversation)["messages"]]


def test_a_whole_new_answer_counts(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("new"), done())
    stream = client.regenerate(answered)
    assert stream.finish()["status"] == "complete"
    assert stream.text == "new"
    assert active_texts(client, answered) == ["question one", "earlier", "question two", "new"]
    versions = {item["content"]: item["is_active"] for item in client.messages(answered) if item["role"] == "assistant"}
    assert versions == {"earlier": True, "old": False, "new": True}
    new, old = (next(item for item in client.messages(answered) if item["content"] == text) for text in ("new", "old"))
    assert new["parent_id"] == old["parent_id"] == client.messages(answered)[2]["id"]


def test_the_old_answer_is_not_shown_to_the_model(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("new"), done())
    client.regenerate(answered).finish()
    assert upstream.generations()[-1].messages == [
        {"role": "user", "content": "question one"},
        {"role": "assistant", "content": "earlier"},
        {"role": "user", "content": "question two"},
    ]


@pytest.mark.parametrize(
    "failure",
    [
        (respond("503 Service Unavailable"),),
        (respond("500 Internal Server Error"),),
        (tokens("bro"), die()),
        (die(),),
        (done(),),
    ],
    ids=["503", "500", "dies in the middle", "dies at once", "says nothing"],
)
def test_a_failed_or_empty_answer_costs_nothing(
    client: Client, answered: str, upstream: ScriptedUpstream, failure: tuple[Step, ...]
) -> None:
    upstream.script(*failure)
    stream = client.regenerate(answered)
    if stream.status == 200:
        stream.finish()
    assert active_texts(client, answered) == ["question one", "earlier", "question two", "old"]
    upstream.script(tokens("next"), done())
    client.ask(answered, "question three")
    assert [item["content"] for item in upstream.generations()[-1].messages] == [
        *["question one", "earlier", "question two", "old"],
        "question three",
    ]


def test_the_old_answer_counts_while_the_new_one_is_made(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("ne"), hold(gate), tokens("w"), done())
    stream = client.regenerate(answered)
    stream.read_until("ne")
    assert active_texts(client, answered)[-1] == "old"
    gate.open()
    stream.finish()
    assert active_texts(client, answered)[-1] == "new"


@pytest.mark.parametrize(("said", "counts"), [("enough", "enough"), ("", "old")], ids=["with text", "empty"])
def test_a_stopped_answer_counts_if_it_has_text(
    client: Client, answered: str, upstream: ScriptedUpstream, said: str, counts: str
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*[said] if said else []), hold(gate))
    if said:
        stream = client.regenerate(answered)
        stream.read_until(said)
    else:
        client.open("POST", f"/api/conversations/{answered}/regenerate", {}, {"Prefer": "respond-async"})
    gate.wait_held()
    assert client.stop(answered).json["status"] == "stopped"
    assert active_texts(client, answered)[-1] == counts


def test_a_failed_first_answer_is_replaced(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable"))
    client.send(conversation, "question")
    upstream.script(tokens("answer"), done())
    client.regenerate(conversation).finish()
    assert active_texts(client, conversation)[-1] == "answer"


def test_nothing_is_regenerated_while_a_reply_runs(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("running"), stall())
    running = client.send(answered, "question three")
    running.read_until("running")
    refused = client.regenerate(answered)
    assert (refused.status, refused.json["code"]) == (409, "generation_in_progress")
    client.stop(answered)


def test_an_earlier_turns_answer_is_never_touched(client: Client, answered: str, upstream: ScriptedUpstream) -> None:
    before = client.messages(answered)[:3]
    for text in ("second try", "third try"):
        upstream.script(tokens(text), done())
        client.regenerate(answered).finish()
    assert client.messages(answered)[:3] == before
    assert active_texts(client, answered) == ["question one", "earlier", "question two", "third try"]
