"""POST /api/conversations/{id}/messages/{mid}/continue"""

import uuid
from typing import Any

import pytest

from tests.support.auth import make_token
from tests.support.client import Answer, Client
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream


def go_on(client: Client, conversation: str, message_id: str, **body: Any) -> Answer:
    return client.request("POST", f"/api/conversations/{conversation}/messages/{message_id}/continue", body)


def stopped_reply(client: Client, conversation: str, upstream: ScriptedUpstream, *texts: str) -> str:
    gate = upstream.gate()
    upstream.script(tokens(*texts), hold(gate), when="begin")
    path = f"/api/conversations/{conversation}/messages"
    begun = client.request("POST", path, {"content": "begin"}, {"Prefer": "respond-async"})
    gate.wait_held()
    client.stop(conversation)
    return str(begun.json["id"])


def test_it_answers_as_a_send_does(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    reply_id = stopped_reply(client, conversation, upstream, "one")
    upstream.script(tokens(" two"), done())
    answer = go_on(client, conversation, reply_id, stream=False, max_tokens=7)
    assert (answer.status, answer.json["id"], answer.json["content"]) == (200, reply_id, "one two")
    assert answer.headers["Content-Location"] == f"/api/conversations/{conversation}/messages/{reply_id}"
    assert upstream.generations()[-1].body["max_tokens"] == 7


def test_it_may_be_asked_for_in_the_background(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    reply_id = stopped_reply(client, conversation, upstream, "one")
    upstream.script(tokens(" two"), done())
    path = f"/api/conversations/{conversation}/messages/{reply_id}/continue"
    answer = client.request("POST", path, {}, {"Prefer": "respond-async"})
    assert (answer.status, answer.json["id"]) == (202, reply_id)
    stream = client.follow(conversation, reply_id)
    stream.finish()
    assert stream.text == "one two"


def test_a_whole_reply_or_a_question_can_t_be_continued(client: Client, conversation: str) -> None:
    reply = client.message(conversation, client.ask(conversation, "hi").message_id)
    for message_id in (reply["id"], reply["parent_id"]):
        answer = go_on(client, conversation, message_id)
        assert (answer.status, answer.json["code"]) == (409, "not_continuable")
    assert client.message(conversation, reply["id"]) == reply


def test_a_reply_without_text_can_t_be_continued(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    answer = go_on(client, conversation, reply_id)
    assert (answer.status, answer.json["code"]) == (409, "not_continuable")


def test_only_the_last_reply_can_be_continued(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    reply_id = stopped_reply(client, conversation, upstream, "one")
    client.ask(conversation, "hi")
    answer = go_on(client, conversation, reply_id)
    assert (answer.status, answer.json["code"]) == (409, "not_continuable")


def test_a_running_reply_is_not_continued(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), done())
    running = client.send(conversation, "hi")
    running.read_until("one")
    answer = go_on(client, conversation, running.message_id)
    assert (answer.status, answer.json["code"]) == (409, "generation_in_progress")
    gate.open()
    running.finish()


@pytest.mark.parametrize("body", [{"max_tokens": 0}, {"stream": "no"}, {"temperature": "hot"}])
def test_a_bad_body_is_refused(client: Client, conversation: str, upstream: ScriptedUpstream, body: dict[str, Any]) -> None:
    reply_id = stopped_reply(client, conversation, upstream, "one")
    assert go_on(client, conversation, reply_id, **body).status == 400
    assert client.message(conversation, reply_id)["status"] == "stopped"


def test_nobody_else_finds_it(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    reply_id = stopped_reply(client, conversation, upstream, "one")
    assert go_on(Client(client.port, make_token()), conversation, reply_id).status == 404
    assert go_on(client, conversation, str(uuid.uuid4())).status == 404
    assert go_on(client, conversation, "no-id").status == 404
    assert go_on(Client(client.port, None), conversation, reply_id).status == 401
