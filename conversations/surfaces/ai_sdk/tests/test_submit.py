"""POST /api/chat"""

import json
from typing import Any

import pytest

from conversations.surfaces.ai_sdk.tests.calls import (
    alone,
    ask,
    chat_messages,
    events,
    question,
    refused,
    submit,
    text_of,
    texts,
)
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream


def test_the_stream_is_a_stream_of_ui_messages(client: Client) -> None:
    stream = submit(client, question("hello there"))
    assert stream.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert stream.headers["Cache-Control"] == "no-cache, no-transform"
    reply_id = stream.headers["X-Message-Id"]
    found = events(stream)
    assert found[0] == {"type": "start", "messageId": reply_id}
    assert (text_of(found), found[-1]) == ("hello there", "[DONE]")


def test_the_first_message_creates_and_names_the_chat(client: Client) -> None:
    ask(client, question("What is tea?"), chat="a.b:c@d-e_f")
    assert client.get("/api/chat/a.b:c@d-e_f")["title"] == "What is tea?"
    (listed,) = client.get("/api/conversations")["items"]
    assert listed["title"] == "What is tea?"
    # The id on the primary surface names the chat too.
    alone(client, question("more", "q2"), chat=listed["id"])
    assert len(client.conversation(listed["id"])["messages"]) == 4
    assert len(client.get("/api/conversations")["items"]) == 1


def test_a_chat_and_a_session_of_one_name_are_one_conversation(client: Client) -> None:
    ask(client, question("by chat"), chat="shared")
    client.open("POST", "/api/v1/chat/stream", {"session_id": "shared", "message": "by session"}).finish()
    said = [text for _, text in texts(chat_messages(client, "shared"))]
    assert said == ["by chat", "by chat", "by session", "by session"]


def test_only_the_text_of_the_last_user_message_is_read(client: Client, upstream: ScriptedUpstream) -> None:
    nameless = {"role": "assistant", "parts": [{"type": "file"}]}
    system = {"id": "s", "role": "system", "parts": []}
    ask(client, system, question("invented", None), nameless, question("real"), "nonsense", {"role": "assistant", "id": "x"})
    assert [message["content"] for message in upstream.wait_call().body["messages"]] == ["real"]


def test_several_text_parts_are_one_text(client: Client) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    ask(client, question(parts=parts))
    assert texts(chat_messages(client))[0] == ("user", "one\ntwo")


def test_settings_of_the_reply(client: Client, upstream: ScriptedUpstream) -> None:
    ask(client, temperature=0.5, max_tokens=7, model="large", top_p=3, tools={"deep": [[]]})
    body = upstream.wait_call().body
    assert (body["temperature"], body["max_tokens"]) == (0.5, 7)
    assert client.get("/api/conversations")["items"][0]["model_tag"] == "large"
    ask(client, question("more", "q2"), model="tiny")
    assert client.get("/api/conversations")["items"][0]["model_tag"] == "tiny"


def test_a_refused_send_leaves_the_chat_s_model(client: Client, upstream: ScriptedUpstream) -> None:
    ask(client, model="tiny")
    upstream.script(tokens("so"), hold(upstream.gate()), done(), when="long")
    running = submit(client, question("long", "q2"), model="tiny")
    upstream.wait_call("long")
    unknown = [question("gone", "q0"), question("more", "q3")]
    for messages, when_busy, code in (
        (unknown, None, "history_mismatch"),
        ([question("more", "q3")], "reject", "generation_in_progress"),
    ):
        answer = refused(client, messages=messages, model="large", trigger="submit-message", when_busy=when_busy)
        assert (answer.status, answer.json["code"]) == (409, code)
        assert client.get("/api/conversations")["items"][0]["model_tag"] == "tiny"
    assert text_of(ask(client, question("more", "q3"), model="large", when_busy="interrupt")) == "more"
    assert client.get("/api/conversations")["items"][0]["model_tag"] == "large"
    running.close()


@pytest.mark.slow
def test_a_model_that_is_not_allowed_creates_no_chat(client: Client, new_server: StartServer) -> None:
    with new_server(ALLOWED_MODELS="tiny") as strict:
        answer = refused(client.at(strict.port), model="large")
        assert (answer.status, list(answer.json["fields"])) == (400, ["model_tag"])
        assert client.get("/api/conversations")["items"] == []
        assert text_of(ask(client.at(strict.port), model="tiny")) == "hi"


ABSENT: Any = object()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "a/b"}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": "stream"}, "id"),
        ({"id": 7}, "id"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [{"id": "a", "role": "assistant", "parts": []}]}, "messages"),
        ({"messages": [question(message_id="")]}, "messages"),
        ({"messages": [question(message_id="a b")]}, "messages"),
        ({"messages": [question(message_id="x" * 201)]}, "messages"),
        ({"messages": [{"role": "user", "parts": [{"type": "text", "text": "no id"}]}]}, "messages"),
        ({"messages": [question(parts=None)]}, "messages"),
        ({"messages": [question(parts=[])]}, "messages"),
        ({"messages": [question(parts=["text"])]}, "messages"),
        ({"messages": [question(parts=[{"type": "text", "text": 7}])]}, "messages"),
        ({"messages": [question(parts=[{"type": "text", "text": "see"}, {"type": "file", "url": "data:,"}])]}, "messages"),
        ({"messages": [question("  ")]}, "messages"),
        ({"messages": [question("nul\x00")]}, "messages"),
        ({"messages": [question("x" * 8001)]}, "messages"),
        ({"messages": [{"id": 7, "role": "assistant", "parts": []}, question()]}, "messages"),
        ({"messages": ABSENT}, "messages"),
        ({"messages": ABSENT, "message": None}, "messages"),
        ({"messages": ABSENT, "message": "hi"}, "message"),
        ({"messages": ABSENT, "message": question(role="assistant")}, "message"),
        ({"messages": ABSENT, "message": question("  ")}, "message"),
        ({"trigger": "resume-stream"}, "trigger"),
        ({"messageId": 7}, "messageId"),
        ({"temperature": 3}, "temperature"),
        ({"when_busy": "wait"}, "when_busy"),
    ],
)
def test_an_invalid_body_is_refused_and_names_the_field(client: Client, body: dict, field: str) -> None:
    answer = refused(client, **body)
    assert (answer.status, list(answer.json["fields"])) == (400, [field])


def test_a_deeply_nested_history_is_ignored(client: Client) -> None:
    deep = "[" * 300 + "]" * 300
    body = json.dumps({"id": "kitchen", "messages": ["DEEP", question()]}).replace('"DEEP"', deep)
    assert text_of(events(client.open("POST", "/api/chat", json.loads(body)))) == "hi"


def test_a_long_history_may_be_sent(client: Client) -> None:
    asked = ask(client)
    said = [{**question("x" * 1_500_000), "more": "x"}, {"id": asked[0]["messageId"], "role": "assistant", "parts": [{}]}]
    assert text_of(ask(client, *said, question("short", "q2"))) == "short"
    answer = refused(client, messages=[said[0], question("y" * 300_000, "q0"), said[1], question("short", "q3")])
    assert (answer.status, answer.json["code"]) == (409, "history_mismatch")


def test_a_token_is_needed(anonymous_client: Client) -> None:
    assert refused(anonymous_client).status == 401


def test_the_messages_id_is_the_key(client: Client, upstream: ScriptedUpstream) -> None:
    first, second = ask(client), ask(client)
    assert first[0] == second[0]
    assert text_of(second) == "hi"
    assert len(upstream.generations()) == 1
    assert refused(client, messages=[question("another text")]).status == 422


def test_a_header_with_a_last_event_changes_nothing(client: Client) -> None:
    ask(client, question("hello there"))
    body = {"id": "kitchen", "messages": [question("hello there")]}
    for last_event in ("3", "done"):
        again = client.open("POST", "/api/chat", body, {"Last-Event-ID": last_event})
        assert text_of(events(again)) == "hello there"


def test_a_double_click_is_one_edit(client: Client, upstream: ScriptedUpstream) -> None:
    ask(client)
    gate = upstream.gate()
    upstream.script(tokens("once"), hold(gate), done(), when="edited")
    streams = at_once(lambda _: submit(client, question("edited"), messageId="q1"), 4)
    gate.open()
    assert {text_of(events(stream)) for stream in streams} == {"once"}
    assert len(upstream.generations("edited")) == 1
    assert texts(chat_messages(client)) == [("user", "edited"), ("assistant", "once")]


def test_an_edit_back_to_the_first_text_is_an_edit(client: Client) -> None:
    ask(client, question("a"))
    for text in ("b", "a"):
        assert text_of(ask(client, question(text), messageId="q1")) == text
    assert texts(chat_messages(client)) == [("user", "a"), ("assistant", "a")]


def test_an_edit_without_a_change_asks_again(client: Client, upstream: ScriptedUpstream) -> None:
    ask(client)
    upstream.script(tokens("again"), done())
    assert text_of(ask(client, messageId="q1")) == "again"
    assert texts(chat_messages(client)) == [("user", "hi"), ("assistant", "again")]


def test_a_regeneration_with_another_text_is_an_edit(client: Client) -> None:
    # Front-ends change the message in the page and then regenerate.
    ask(client)
    assert text_of(ask(client, question("changed"), trigger="regenerate-message")) == "changed"
    assert texts(chat_messages(client)) == [("user", "changed"), ("assistant", "changed")]


def test_a_message_of_another_surface_can_be_edited(client: Client, conversation: str) -> None:
    client.ask(conversation, "by hand")
    asked_id = chat_messages(client, conversation)[0]["id"]
    assert asked_id == client.messages(conversation)[0]["id"]
    edited = question("changed", asked_id)
    assert text_of(ask(client, edited, chat=conversation, messageId=asked_id)) == "changed"
    assert chat_messages(client, conversation)[0]["id"] == asked_id


def test_a_second_message_while_a_reply_is_read_is_refused(client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), done(), when="first")
    running = submit(client, question("first"))
    upstream.wait_call("first")
    answer = refused(client, messages=[question("second", "q2")])
    assert (answer.status, answer.json["code"]) == (409, "generation_in_progress")
    assert text_of(ask(client, question("second", "q2"), when_busy="interrupt")) == "second"
    assert running.body().endswith(b"data: [DONE]\n\n")
