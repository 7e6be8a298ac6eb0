"""POST /api/chat with the messages that the page shows: the model gets these, or the request is refused."""

from typing import Any

import pytest

from conversations.surfaces.ai_sdk.tests.calls import alone, ask, chat_messages, question, refused, submit, text_of, texts
from tests.support.client import Answer, Client
from tests.support.parallel import at_once
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream

Shown = list[dict[str, Any]]


def said(client: Client, *before: dict[str, Any], text: str, **fields: Any) -> Shown:
    """Send a message behind those that the page shows. Return what it shows then."""
    asked = question(text, fields.pop("name", f"id-{text}"))
    found = ask(client, *before, asked, trigger=fields.pop("trigger", "submit-message"), **fields)
    reply = {"id": found[0]["messageId"], "role": "assistant", "parts": [{"type": "text", "text": text_of(found)}]}
    return [*before, asked, reply]


def sent_upstream(upstream: ScriptedUpstream) -> list[str]:
    return [message["content"] for message in upstream.generations()[-1].body["messages"]]


def shown_texts(client: Client) -> list[str]:
    return [text for _, text in texts(chat_messages(client))]


def test_a_message_follows_what_the_page_shows(client: Client, upstream: ScriptedUpstream) -> None:
    bob = said(client, text="Bob")
    both = said(client, *bob, text="two")
    assert sent_upstream(upstream) == ["Bob", "Bob", "two"]
    # A page that has cut its messages short.
    said(client, *bob, text="three")
    assert sent_upstream(upstream) == ["Bob", "Bob", "three"]
    assert shown_texts(client) == ["Bob", "Bob", "three", "three"]
    # A page that has gone back to the other branch, and one that has not loaded the beginning.
    longer = said(client, *both, text="four")
    assert sent_upstream(upstream) == ["Bob", "Bob", "two", "two", "four"]
    said(client, *longer[3:], text="five")
    assert sent_upstream(upstream) == ["Bob", "Bob", "two", "two", "four", "four", "five"]


def test_another_first_message_is_a_version_of_the_first_one(client: Client, upstream: ScriptedUpstream) -> None:
    bob = said(client, *said(client, text="Bob"), text="more")
    alice = said(client, text="Alice")
    assert sent_upstream(upstream) == ["Alice"]
    assert [message["id"] for message in chat_messages(client)] == [message["id"] for message in alice]
    assert text_of(ask(client, alice[0])) == "Alice"
    said(client, *alice, text="hers")
    assert sent_upstream(upstream) == ["Alice", "Alice", "hers"]
    said(client, *bob, text="his")
    assert sent_upstream(upstream) == ["Bob", "Bob", "more", "more", "his"]
    assert len(client.get("/api/conversations")["items"]) == 1


def test_a_double_click_on_another_first_message_sends_it_once(client: Client, upstream: ScriptedUpstream) -> None:
    said(client, text="Bob")
    gate = upstream.gate()
    upstream.script(tokens("once"), hold(gate), done(), when="Alice")
    streams = at_once(lambda _: submit(client, question("Alice", "alice")), 4)
    gate.open()
    assert {stream.headers["X-Message-Id"] for stream in streams} == {streams[0].headers["X-Message-Id"]}
    assert all(stream.body().endswith(b"data: [DONE]\n\n") for stream in streams)
    assert len(upstream.generations("Alice")) == 1


def test_an_earlier_message_is_edited(client: Client, upstream: ScriptedUpstream) -> None:
    bob = said(client, text="Bob")
    more = said(client, *said(client, *bob, text="two"), text="three")
    edited = said(client, *bob, text="changed", name="id-two", messageId="id-two")
    assert sent_upstream(upstream) == ["Bob", "Bob", "changed"]
    assert [message["id"] for message in chat_messages(client)] == [message["id"] for message in edited]
    # The page goes back to the branch that it has left.
    said(client, *more, text="four")
    assert sent_upstream(upstream) == ["Bob", "Bob", "two", "two", "three", "three", "four"]
    first = said(client, text="Carol", name="id-Bob", messageId="id-Bob")
    assert sent_upstream(upstream) == ["Carol"]
    said(client, *first, text="hers")
    assert sent_upstream(upstream) == ["Carol", "Carol", "hers"]


def test_an_edit_of_a_message_that_had_another_name(client: Client, upstream: ScriptedUpstream) -> None:
    said(client, text="Bob")
    said(client, text="Alice")
    anna = said(client, text="Anna", name="id-Alice", messageId="id-Alice")
    said(client, *anna, text="hers")
    assert sent_upstream(upstream) == ["Anna", "Anna", "hers"]
    # The page shows the id that it has loaded.
    loaded = chat_messages(client)
    said(client, *loaded, text="more")
    assert sent_upstream(upstream) == ["Anna", "Anna", "hers", "hers", "more"]


def test_an_earlier_answer_is_regenerated(client: Client, upstream: ScriptedUpstream) -> None:
    bob = said(client, text="Bob")
    longer = said(client, *said(client, *bob, text="two"), text="three")
    upstream.script(tokens("another"), done())
    again = ask(client, *bob, longer[2], trigger="regenerate-message")
    assert (text_of(again), sent_upstream(upstream)) == ("another", ["Bob", "Bob", "two"])
    assert shown_texts(client) == ["Bob", "Bob", "two", "another"]
    said(client, *longer, text="four")
    assert sent_upstream(upstream)[-3:] == ["three", "three", "four"]


def test_a_version_that_was_left_is_regenerated(client: Client, upstream: ScriptedUpstream) -> None:
    said(client, text="a", name="q")
    said(client, text="b", name="q", messageId="q")
    ask(client, question("a", "q"), trigger="regenerate-message")
    assert sent_upstream(upstream) == ["a"]
    (listed,) = client.get("/api/conversations")["items"]
    asked = [item for item in client.messages(listed["id"]) if item["role"] == "user"]
    assert [item["content"] for item in asked] == ["a", "b"]


@pytest.mark.parametrize("place", ["before", "between", "last"])
@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("name", ["unknown", "01920000-0000-7000-8000-000000000000"])
def test_an_unknown_id_is_refused(client: Client, upstream: ScriptedUpstream, place: str, role: str, name: str) -> None:
    bob = said(client, text="Bob")
    at = {"before": 0, "between": 1, "last": 2}[place]
    answer = refused(client, messages=[*bob[:at], {"id": name, "role": role, "parts": []}, *bob[at:], question("next", "q2")])
    assert_mismatch(answer, bob)
    assert (shown_texts(client), len(upstream.generations())) == (["Bob", "Bob"], 1)


def test_messages_in_another_order_and_with_gaps_are_refused(client: Client) -> None:
    shown = said(client, *said(client, *said(client, text="one"), text="two"), text="three")
    other = said(client, *shown[:2], text="other")
    for messages in (
        [shown[1], shown[0]],
        [*shown[:2], *shown[4:]],
        [shown[0], *shown[2:]],
        [*shown[:3], *shown[2:]],
        [*other, *shown[2:]],
        [*shown[:4], other[3]],
    ):
        assert_mismatch(refused(client, messages=[*messages, question("next", "q9")]), other)
    # A known question in another place.
    for fields in ({"messageId": "id-two"}, {"trigger": "regenerate-message"}, {}):
        assert_mismatch(refused(client, messages=[*other, question("two", "id-two")], **fields), other)
    assert shown_texts(client) == ["one", "one", "other", "other"]


@pytest.mark.parametrize("trigger", ["submit-message", "regenerate-message"])
def test_a_new_chat_knows_no_messages(client: Client, upstream: ScriptedUpstream, trigger: str) -> None:
    assert_mismatch(refused(client, messages=[question("lost", "q0"), question("next")], trigger=trigger), [])
    assert (client.get("/api/conversations")["items"], upstream.generations()) == ([], [])


def assert_mismatch(answer: Answer, known: Shown) -> None:
    assert (answer.status, answer.json["code"]) == (409, "history_mismatch")
    assert answer.json["message_ids"] == [message["id"] for message in known]


def test_only_the_new_message_is_sent(client: Client, upstream: ScriptedUpstream) -> None:
    alone(client, question("one", "q1"))
    alone(client, question("two", "q2"), trigger="submit-message")
    assert sent_upstream(upstream) == ["one", "one", "two"]
    # A single message of a client that is not the SDK's own transport.
    assert client.open("POST", "/api/chat", {"id": "kitchen", "messages": [question("three", "q3")]}).body()
    assert sent_upstream(upstream) == ["one", "one", "two", "two", "three"]
    alone(client, question("edited", "q2"), messageId="q2")
    assert sent_upstream(upstream) == ["one", "one", "edited"]
    upstream.script(tokens("again"), done())
    assert text_of(alone(client, question("edited", "q2"), trigger="regenerate-message")) == "again"
    assert shown_texts(client) == ["one", "one", "edited", "again"]


def test_replies_without_ids_are_not_compared(client: Client, upstream: ScriptedUpstream) -> None:
    def nameless(messages: Shown) -> Shown:
        return [{key: value for key, value in each.items() if key != "id" or each["role"] == "user"} for each in messages]

    one = nameless(said(client, text="one"))
    two = nameless(said(client, *one, text="two"))
    assert sent_upstream(upstream) == ["one", "one", "two"]
    said(client, *one, text="other")
    assert sent_upstream(upstream) == ["one", "one", "other"]
    said(client, *two, text="three")
    assert sent_upstream(upstream) == ["one", "one", "two", "two", "three"]
    answer = refused(client, messages=[*one, *two[2:], question("gone", "gone"), one[1], question("next", "q9")])
    assert answer.json["code"] == "history_mismatch"


def test_a_question_whose_answer_failed(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable", b"{}"))
    asked = question("one", "q1")
    answer = refused(client, messages=[asked], trigger="submit-message")
    assert answer.json["code"] == "upstream_unavailable"
    upstream.script(tokens("two"), done())
    shown = said(client, asked, text="two")
    assert sent_upstream(upstream) == ["one\n\ntwo"]
    said(client, *shown, text="three")
    assert sent_upstream(upstream) == ["one\n\ntwo", "two", "three"]


def test_an_answer_that_the_page_does_not_show_is_not_in_the_context(client: Client, upstream: ScriptedUpstream) -> None:
    one = said(client, text="one")
    shown = said(client, one[0], text="two")
    assert sent_upstream(upstream) == ["one\n\ntwo"]
    said(client, *shown, text="three")
    assert sent_upstream(upstream) == ["one\n\ntwo", "two", "three"]
    # The answer is there again when the user comes back to it.
    said(client, *one, text="four")
    assert sent_upstream(upstream) == ["one", "one", "four"]


def test_what_another_tab_has_sent_is_left(client: Client, upstream: ScriptedUpstream) -> None:
    shown = said(client, text="one")
    said(client, *shown, text="first")
    said(client, *shown, text="second")
    assert sent_upstream(upstream) == ["one", "one", "second"]
    assert shown_texts(client) == ["one", "one", "second", "second"]


def test_a_repeated_message_follows_its_turn(client: Client, upstream: ScriptedUpstream) -> None:
    shown = said(client, *said(client, text="one"), text="two")
    said(client, *shown, text="three")
    again = ask(client, *shown[:3])
    assert again[0]["messageId"] == shown[3]["id"]
    assert len(upstream.generations()) == 3


def test_a_chat_that_another_surface_began(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    client.ask(conversation, "by hand")
    client.ask(conversation, "again")
    shown = chat_messages(client, conversation)
    said(client, *shown[:2], text="chat", chat=conversation)
    assert sent_upstream(upstream) == ["by hand", "by hand", "chat"]
    said(client, *shown, text="back", chat=conversation)
    assert sent_upstream(upstream) == ["by hand", "by hand", "again", "again", "back"]
