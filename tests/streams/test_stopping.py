"""What a user stopped has really stopped: the inference service sees it, and what had come is kept."""

import pytest

from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.raw import RawConnection
from tests.support.steps import Step, done, endless, head, hold, stall, tokens
from tests.support.upstream import ScriptedUpstream


def test_stopping_closes_the_upstream_and_keeps_the_text(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("one", " two"), stall())
    stream = client.send(conversation, "go")
    stream.read_until(" two")
    answer = client.stop(conversation)
    assert answer.status == 200
    upstream.generations()[0].wait_client_left()
    assert (answer.json["id"], answer.json["status"], answer.json["content"]) == (stream.message_id, "stopped", "one two")
    assert answer.json == client.message(conversation, stream.message_id)
    assert stream.finish()["status"] == "stopped"
    assert "error" not in stream.objects[-2]


def test_a_reply_that_pours_is_stopped(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(endless("again ", every_s=0.001))
    stream = client.send(conversation, "pour")
    stream.read_until("again again again ")
    answer = client.stop(conversation)
    upstream.generations()[0].wait_client_left()
    assert stream.finish()["status"] == "stopped"
    assert answer.json["content"] == stream.text


@pytest.mark.parametrize("before", [(), (head(),)], ids=["before the headers", "before the first token"])
def test_a_reply_is_stopped_before_it_says_anything(
    client: Client, conversation: str, upstream: ScriptedUpstream, before: tuple[Step, ...]
) -> None:
    upstream.script(*before, hold(upstream.gate()))
    sending = {"content": "think"}
    accepted = client.open("POST", f"/api/conversations/{conversation}/messages", sending, {"Prefer": "respond-async"})
    assert accepted.status == 202
    answer = client.stop(conversation)
    assert (answer.status, answer.json["status"], answer.json["content"]) == (200, "stopped", "")
    upstream.generations()[0].wait_client_left()


def test_stopping_while_the_send_still_waits_for_the_upstream(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate))

    def send_or_stop(number: int) -> str:
        if number == 0:
            return str(client.send(conversation, "quick").finish()["status"])
        gate.wait_held()
        return str(client.stop(conversation).json["status"])

    assert at_once(send_or_stop, 2) == ["stopped", "stopped"]


def test_stopping_twice_changes_nothing(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("some"), stall())
    client.send(conversation, "go").read_until("some")
    first = client.stop(conversation)
    assert client.stop(conversation).json == first.json


def test_stopping_at_once_from_many_tabs_is_one_stop(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("some"), stall())
    client.send(conversation, "go").read_until("some")
    answers = at_once(lambda _: client.stop(conversation), 8)
    assert {(answer.status, answer.json["status"], answer.json["content"]) for answer in answers} == {(200, "stopped", "some")}


def test_stopping_what_has_ended_changes_nothing(client: Client, conversation: str) -> None:
    stream = client.ask(conversation, "whole answer")
    answer = client.stop(conversation)
    assert (answer.status, answer.json["id"], answer.json["status"]) == (200, stream.message_id, "complete")
    assert answer.json["content"] == "whole answer"


def test_the_conversation_goes_on_after_a_stop(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"), stall(), when="first")
    client.send(conversation, "first").read_until("half")
    client.stop(conversation)
    assert client.ask(conversation, "second").text == "second"
    assert upstream.wait_call("second").messages == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "half"},
        {"role": "user", "content": "second"},
    ]


def test_deleting_a_conversation_stops_its_reply(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("some"), endless(" more"))
    stream = client.send(conversation, "go")
    stream.read_until("some more")
    assert client.request("DELETE", f"/api/conversations/{conversation}").status == 204
    upstream.generations()[0].wait_client_left()
    assert stream.finish()["status"] == "stopped"
    assert client.request("GET", f"/api/conversations/{conversation}").status == 404


def test_a_stopped_connection_is_not_used_again(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("first"), hold(gate := upstream.gate()), tokens("late"), done(), when="first")
    client.send(conversation, "first").read_until("first")
    client.stop(conversation)
    gate.open()
    assert client.ask(conversation, "second").text == "second"


def test_a_stop_stops_a_send_whose_body_is_still_coming(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = client.create_conversation()
    body = b'{"content": "never asked", "stream": false}'
    with RawConnection(client.port) as slow:
        slow.send_head("POST", f"/api/conversations/{conversation}/messages", client.token, Content_Length=str(len(body)))
        slow.send(body[:10])
        # The server has read the headers when it answers a request that came later on a connection of its own.
        assert client.request("GET", "/api/conversations").status == 200
        client.request("POST", f"/api/conversations/{conversation}/stop", {})
        slow.send(body[10:])
        status, _, message = slow.answer()
    assert (status, message["status"], message["content"]) == (200, "stopped", "")
    assert not upstream.generations()
