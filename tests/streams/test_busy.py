"""A send while a reply is running: one that nobody follows gives way, any other keeps its conversation."""

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.conftest import StartServer
from tests.support.client import Client, Stream
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

BACKGROUND = {"Prefer": "respond-async"}
KEY = {"Idempotency-Key": "once"}


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


@pytest.fixture
def silent(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """An inference service that falls silent after the first word of its first reply, so that nothing is written."""
    upstream.script(tokens("half"), hold(upstream.gate()), done(), when="first")
    return upstream


def begin(client: Client, conversation: str, **headers: str) -> Stream:
    stream = client.send(conversation, "first", headers=headers)
    stream.read_until("half")
    return stream


def assert_went_on(client: Client, conversation: str, first: Stream, second: Stream, upstream: ScriptedUpstream) -> None:
    assert second.status == 200, second.json
    assert second.finish()["status"] == "complete"
    message = client.message(conversation, first.message_id)
    assert (message["status"], message["content"]) == ("stopped", "half")
    upstream.generations("first")[0].wait_client_left()


def assert_refused(stream: Stream, conversation: str, running_id: str) -> None:
    refusal = stream.json
    assert (stream.status, refusal["code"], refusal["message_id"]) == (409, "generation_in_progress", running_id)
    assert stream.headers["Location"] == f"/api/conversations/{conversation}/messages/{running_id}/stream"
    assert int(stream.headers["Retry-After"]) > 0


@pytest.mark.parametrize("leave", [Stream.close, Stream.abort], ids=["in good order", "abruptly"])
def test_a_send_follows_an_aborted_one_at_once(
    client: Client, conversation: str, silent: ScriptedUpstream, leave: Callable[[Stream], None]
) -> None:
    first = begin(client, conversation)
    leave(first)
    second = client.send(conversation, "second thoughts")
    assert_went_on(client, conversation, first, second, silent)
    assert silent.wait_call("second thoughts").messages == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "half"},
        {"role": "user", "content": "second thoughts"},
    ]


def test_so_do_a_regeneration_and_an_edit(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"), hold(upstream.gate()), done())
    first = begin(client, conversation)
    first.abort()
    again = client.regenerate(conversation)
    again.read_until("half")
    again.abort()
    upstream.script(tokens("whole"), done())
    path = f"/api/conversations/{conversation}/messages/{first.headers['X-User-Message-Id']}"
    edited = client.open("PUT", path, {"content": "first, edited"})
    assert edited.finish()["status"] == "complete"
    statuses = {item["id"]: item["status"] for item in client.messages(conversation)}
    assert [statuses[stream.message_id] for stream in (first, again, edited)] == ["stopped", "stopped", "complete"]


def test_a_send_that_was_aborted_before_the_first_word_gives_way(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(hold(upstream.gate()), when="first")
    # A question without an answer is asked together with the next one.
    upstream.script(tokens("answer"), done(), when="second")
    first = client.send(conversation, "first")
    first.abort()
    assert client.send(conversation, "second").finish()["status"] == "complete"
    assert client.message(conversation, first.message_id)["status"] == "stopped"


def test_a_client_that_waits_for_json_follows(client: Client, conversation: str, silent: ScriptedUpstream) -> None:
    waiting = http.client.HTTPConnection("127.0.0.1", client.port)
    body = json.dumps({"content": "first", "stream": False})
    waiting.request("POST", f"/api/conversations/{conversation}/messages", body, {"Authorization": f"Bearer {client.token}"})
    silent.wait_call("first")
    refused = client.send(conversation, "second")
    assert refused.status == 409
    waiting.close()
    assert client.send(conversation, "second").finish()["status"] == "complete"


def test_another_tab_that_follows_keeps_the_reply(client: Client, conversation: str, silent: ScriptedUpstream) -> None:
    first = begin(client, conversation)
    tab = client.follow(conversation, first.message_id)
    tab.read_until("half")
    first.abort()
    assert_refused(client.send(conversation, "second"), conversation, first.message_id)
    tab.abort()
    assert_went_on(client, conversation, first, client.send(conversation, "second"), silent)


def test_a_reply_in_the_background_is_only_interrupted_on_request(
    client: Client, conversation: str, silent: ScriptedUpstream
) -> None:
    accepted = client.send(conversation, "first", headers=BACKGROUND)
    assert accepted.status == 202
    tab = client.follow(conversation, accepted.message_id)
    tab.read_until("half")
    tab.abort()
    assert_refused(client.send(conversation, "second"), conversation, accepted.message_id)
    second = client.send(conversation, "second", when_busy="interrupt")
    assert_went_on(client, conversation, accepted, second, silent)


def test_interrupt_ends_a_reply_that_is_followed(client: Client, conversation: str, silent: ScriptedUpstream) -> None:
    first = begin(client, conversation)
    second = client.send(conversation, "second", when_busy="interrupt")
    assert_went_on(client, conversation, first, second, silent)
    assert first.finish()["status"] == "stopped"


def test_reject_keeps_a_reply_without_followers(client: Client, conversation: str, silent: ScriptedUpstream) -> None:
    first = begin(client, conversation)
    first.abort()
    assert_refused(client.send(conversation, "second", when_busy="reject"), conversation, first.message_id)
    assert_refused(client.regenerate(conversation, when_busy="reject"), conversation, first.message_id)


@pytest.mark.parametrize("choice", ["", "wait", True, ["interrupt"]])
def test_any_other_choice_is_refused(client: Client, conversation: str, choice: object) -> None:
    answer = client.send(conversation, "second", when_busy=choice)
    assert (answer.status, list(answer.json["fields"])) == (400, ["when_busy"])
    assert client.send(conversation, "second", when_busy=None).finish()["status"] == "complete"


def test_a_choice_that_is_nested_deeply_is_refused(client: Client, conversation: str) -> None:
    nested: list[object] = []
    for _ in range(900):
        nested = [nested]
    refusals = [client.send(conversation, "second", when_busy=nested), client.regenerate(conversation, when_busy=nested)]
    assert [(answer.status, list(answer.json["fields"])) for answer in refusals] == [(400, ["when_busy"])] * 2


def test_a_double_click_is_one_turn(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"), hold(upstream.gate()), done())
    for _ in range(10):
        conversation = client.create_conversation()
        streams = at_once(lambda _: client.send(conversation, "first"), 2)  # noqa: B023
        assert sorted(stream.status for stream in streams) == [200, 409]
        [kept] = [stream for stream in streams if stream.status == 200]
        kept.read_until("half")
        assert [item["status"] for item in client.messages(conversation)] == ["complete", "streaming"]
        client.stop(conversation)


def test_of_two_sends_after_an_aborted_one_one_goes_on(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("half"), hold(upstream.gate()), done())
    first = begin(client, conversation)
    first.abort()
    streams = at_once(lambda number: client.send(conversation, f"next {number}"), 4)
    assert sorted(stream.status for stream in streams) == [200, 409, 409, 409]
    [kept] = [stream for stream in streams if stream.status == 200]
    assert {stream.json["message_id"] for stream in streams if stream.status == 409} == {kept.message_id}
    assert [item["status"] for item in client.messages(conversation)] == ["complete", "stopped", "complete", "streaming"]


def test_a_retry_with_its_key_finds_its_reply_running(client: Client, conversation: str, silent: ScriptedUpstream) -> None:
    first = begin(client, conversation, **KEY)
    first.abort()
    retry = begin(client, conversation, **KEY)
    assert retry.message_id == first.message_id
    assert client.message(conversation, first.message_id)["status"] == "streaming"


def ui_message(text: str) -> dict[str, Any]:
    return {"id": f"key-of-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}


@pytest.mark.parametrize("surface", ["contract", "session", "completion", "ai_sdk"])
def test_other_surfaces_do_the_same(client: Client, silent: ScriptedUpstream, surface: str) -> None:
    conversation = client.create_conversation()
    path, body = {
        "contract": (f"/conversations/{conversation}/messages", lambda text: {"message": {"content": text}}),
        "session": ("/api/v1/chat/stream", lambda text: {"session_id": conversation, "message": text}),
        "completion": (f"/conversation/completion/{conversation}", lambda text: {"message": text, "stream": True}),
        "ai_sdk": ("/api/chat", lambda text: {"id": conversation, "messages": [ui_message(text)]}),
    }[surface]
    first = client.open("POST", path, body("first"))
    assert first.status == 200
    silent.wait_call("first")
    refused = client.open("POST", path, body("second"))
    assert (refused.status, refused.json["message_id"]) == (409, first.message_id)
    assert refused.headers["Location"].endswith(f"/messages/{first.message_id}/stream")
    first.abort()
    second = client.open("POST", path, body("second"))
    assert (second.status, b"second" in second.body()) == (200, True)


# Several nodes


def test_a_send_at_another_node_follows_an_aborted_one(
    client: Client, conversation: str, silent: ScriptedUpstream, other_node: Server
) -> None:
    first = begin(client, conversation)
    first.abort()
    assert_went_on(client, conversation, first, client.at(other_node.port).send(conversation, "second"), silent)


def test_a_send_at_another_node_leaves_a_reply_that_is_followed(
    client: Client, conversation: str, silent: ScriptedUpstream, other_node: Server
) -> None:
    first = begin(client, conversation)
    assert_refused(client.at(other_node.port).send(conversation, "second"), conversation, first.message_id)


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_reader_at_another_node_keeps_the_reply_until_it_leaves(
    client: Client, conversation: str, silent: ScriptedUpstream, other_node: Server, database_url: str, where: str
) -> None:
    elsewhere = client.at(other_node.port)
    sender = client if where == "here" else elsewhere
    first = begin(client, conversation)
    reader = elsewhere.follow(conversation, first.message_id)
    reader.read_until("half")
    with psycopg.connect(database_url, autocommit=True) as database:
        noted = "SELECT followed_at FROM messages WHERE id = %s AND followed_at IS NOT NULL"
        wait_until(lambda: database.execute(noted, [first.message_id]).fetchone(), "the reader is noted")
    first.abort()
    assert_refused(sender.send(conversation, "second"), conversation, first.message_id)
    reader.abort()
    assert_went_on(client, conversation, first, sender.send(conversation, "second"), silent)


def test_a_reply_in_the_background_is_left_alone_by_other_nodes(
    client: Client, conversation: str, silent: ScriptedUpstream, other_node: Server
) -> None:
    elsewhere = client.at(other_node.port)
    accepted = client.send(conversation, "first", headers=BACKGROUND)
    silent.wait_call("first")
    assert_refused(elsewhere.send(conversation, "second"), conversation, accepted.message_id)
    second = elsewhere.send(conversation, "second", when_busy="interrupt")
    assert second.finish()["status"] == "complete"


def test_a_double_click_on_two_nodes_is_one_turn(
    client: Client, conversation: str, silent: ScriptedUpstream, other_node: Server
) -> None:
    users = [client, client.at(other_node.port)]
    streams = at_once(lambda number: users[number].send(conversation, "first"), 2)
    assert sorted(stream.status for stream in streams) == [200, 409]
    assert len(client.messages(conversation)) == 2
