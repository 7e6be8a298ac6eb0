"""Messages that wait while a reply runs (`when_busy: enqueue`), on one node and on two."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import Answer, Client, Stream
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import die, done, hold, tokens
from tests.support.upstream import Gate, ScriptedUpstream
from tests.support.waiting import wait_until

BACKGROUND = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


@pytest.fixture
def gate(upstream: ScriptedUpstream) -> Gate:
    """Holds the reply to "first" after its first word."""
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" whole"), done(), when="first")
    return gate


def begin(client: Client, conversation: str) -> Stream:
    stream = client.send(conversation, "first")
    stream.read_until("half")
    return stream


def enqueue(client: Client, conversation: str, content: str, key: str = "", **fields: Any) -> Answer:
    headers = {**BACKGROUND, **({"Idempotency-Key": key} if key else {})}
    path = f"/api/conversations/{conversation}/messages"
    return client.request("POST", path, {"content": content, "when_busy": "enqueue", **fields}, headers)


def said(client: Client, conversation: str) -> list[tuple[str, str, str]]:
    messages = client.conversation(conversation)["messages"]
    return [(message["role"], message["content"], message["status"]) for message in messages]


def waiting(client: Client, conversation: str) -> list[str]:
    messages = client.conversation(conversation)["messages"]
    return [message["content"] for message in messages if message["status"] == "queued"]


def wait_until_idle(client: Client, conversation: str) -> None:
    def is_idle() -> bool:
        found = client.conversation(conversation)
        return found["running_message_id"] is None and all(each["status"] != "queued" for each in found["messages"])

    wait_until(is_idle, "nothing runs and nothing waits")


def asked(upstream: ScriptedUpstream) -> list[list[str]]:
    """Return the texts that went upstream for each reply."""
    return [[message["content"] for message in call.body["messages"]] for call in upstream.generations()]


def test_it_waits_behind_the_running_reply_and_has_its_turn(
    client: Client, conversation: str, gate: Gate, upstream: ScriptedUpstream
) -> None:
    first = begin(client, conversation)
    answer = enqueue(client, conversation, "second")
    assert answer.status == 202, answer
    assert (answer.status, answer.json["status"], answer.json["role"]) == (202, "queued", "user")
    reply_id = answer.json["reply_id"]
    assert answer.headers["X-Message-Id"] == reply_id
    assert answer.headers["X-User-Message-Id"] == answer.json["id"]
    assert answer.headers["Location"] == f"/api/conversations/{conversation}/messages/{reply_id}/stream"
    assert said(client, conversation)[-1] == ("user", "second", "queued")
    assert len(upstream.generations()) == 1
    gate.open()
    assert first.finish()["status"] == "complete"
    follower = client.follow(conversation, reply_id)
    assert follower.finish()["message_id"] == reply_id
    assert said(client, conversation) == [
        ("user", "first", "complete"),
        ("assistant", "half whole", "complete"),
        ("user", "second", "complete"),
        ("assistant", follower.text, "complete"),
    ]
    assert asked(upstream)[-1] == ["first", "half whole", "second"]
    reply = client.message(conversation, reply_id)
    assert reply["parent_id"] == answer.json["id"]
    assert reply["context"]["messages"] == 3


def test_without_a_running_reply_it_is_a_plain_send(client: Client, conversation: str) -> None:
    stream = client.send(conversation, "hello", when_busy="enqueue")
    assert stream.finish()["status"] == "complete"
    answer = client.request(
        "POST",
        f"/api/conversations/{conversation}/messages",
        {
            "content": "again",
            "when_busy": "enqueue",
            "stream": False,
        },
    )
    assert (answer.status, answer.json["status"]) == (200, "complete")


def test_a_stream_begins_when_its_turn_comes(client: Client, conversation: str, gate: Gate, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("here", " it", " is"), done(), when="second")
    begin(client, conversation)
    second = client.send(conversation, "second", when_busy="enqueue")
    assert second.status == 200
    assert waiting(client, conversation) == ["second"]
    gate.open()
    assert second.finish()["status"] == "complete"
    assert second.text == "here it is"
    assert second.message_id == client.conversation(conversation)["messages"][-1]["id"]


def test_as_json_it_is_a_202(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    body = {"content": "second", "when_busy": "enqueue", "stream": False}
    answer = client.request("POST", f"/api/conversations/{conversation}/messages", body)
    assert (answer.status, answer.json["status"]) == (202, "queued")
    gate.open()
    wait_until_idle(client, conversation)


@pytest.mark.parametrize("how", ["json", "respond-async"])
def test_a_reply_that_nobody_waits_for_is_not_interrupted(
    client: Client, conversation: str, gate: Gate, upstream: ScriptedUpstream, how: str
) -> None:
    """The client got a 202, so it comes back."""
    other = upstream.gate()
    upstream.script(tokens("going"), hold(other), done(), when="second")
    begin(client, conversation)
    body = {"content": "second", "when_busy": "enqueue", "stream": how != "json"}
    headers = BACKGROUND if how == "respond-async" else {}
    queued = client.request("POST", f"/api/conversations/{conversation}/messages", body, headers)
    assert queued.status == 202
    gate.open()
    other.wait_held()
    refused = client.send(conversation, "third")
    assert (refused.status, refused.json["code"]) == (409, "generation_in_progress")
    other.open()
    wait_until_idle(client, conversation)
    assert client.message(conversation, queued.json["reply_id"])["status"] == "complete"


def test_they_have_their_turns_in_order(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    for content in ("second", "third", "fourth"):
        assert enqueue(client, conversation, content).status == 202
    assert waiting(client, conversation) == ["second", "third", "fourth"]
    gate.open()
    wait_until_idle(client, conversation)
    questions = [content for role, content, _ in said(client, conversation) if role == "user"]
    assert questions == ["first", "second", "third", "fourth"]


def test_at_most_five_wait(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    answers = at_once(lambda number: enqueue(client, conversation, f"number {number}"), 8)
    assert sorted(answer.status for answer in answers) == [202] * 5 + [409] * 3
    assert {answer.json["code"] for answer in answers if answer.status == 409} == {"queue_full"}
    assert len(waiting(client, conversation)) == 5
    gate.open()
    wait_until_idle(client, conversation)


def test_a_key_is_honoured_while_it_waits_and_afterwards(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    once = enqueue(client, conversation, "second", key="k")
    again = enqueue(client, conversation, "second", key="k")
    assert (again.status, again.json) == (202, once.json)
    other = enqueue(client, conversation, "other", key="k")
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    plain = client.send(conversation, "second", headers={"Idempotency-Key": "k"})
    assert plain.message_id == once.json["reply_id"]
    gate.open()
    assert plain.finish()["status"] == "complete"
    replay = enqueue(client, conversation, "second", key="k")
    assert replay.headers["X-Message-Id"] == once.json["reply_id"]
    assert len(said(client, conversation)) == 4


def _complete(gate: Gate, client: Client, conversation: str) -> None:
    gate.open()


def _stop_reply(gate: Gate, client: Client, conversation: str) -> None:
    client.stop(conversation)
    client.request("POST", f"/api/conversations/{conversation}/resume")


def _interrupt(gate: Gate, client: Client, conversation: str) -> None:
    client.send(conversation, "quick", when_busy="interrupt").finish()


@pytest.mark.parametrize("end", [_complete, _stop_reply, _interrupt])
def test_any_end_lets_the_queue_go_on(
    client: Client, conversation: str, gate: Gate, end: Callable[[Gate, Client, str], None]
) -> None:
    begin(client, conversation)
    enqueue(client, conversation, "second")
    end(gate, client, conversation)
    wait_until_idle(client, conversation)
    assert ("user", "second", "complete") in said(client, conversation)


def test_a_failure_lets_the_queue_go_on(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), die(), when="first")
    first = begin(client, conversation)
    enqueue(client, conversation, "second")
    gate.open()
    assert first.finish()["status"] == "failed"
    wait_until_idle(client, conversation)
    assert [status for _, _, status in said(client, conversation)] == ["complete", "failed", "complete", "complete"]


def test_a_stop_keeps_what_waits_until_the_next_send(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    enqueue(client, conversation, "second")
    stopped = client.stop(conversation)
    assert (stopped.status, stopped.json["status"], stopped.json["content"]) == (200, "stopped", "half")
    assert waiting(client, conversation) == ["second"]
    third = client.send(conversation, "third")
    assert third.finish()["status"] == "complete"
    questions = [content for role, content, _ in said(client, conversation) if role == "user"]
    assert questions == ["first", "second", "third"]


def test_a_stop_may_drop_what_waits(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    enqueue(client, conversation, "second")
    answer = client.request("POST", f"/api/conversations/{conversation}/stop?queued=drop")
    assert answer.json["status"] == "stopped"
    assert said(client, conversation) == [("user", "first", "complete"), ("assistant", "half", "stopped")]
    wrong = client.request("POST", f"/api/conversations/{conversation}/stop?queued=all")
    assert (wrong.status, wrong.json["fields"]) == (400, {"queued": ["Must be one of keep, drop."]})


def test_a_stop_with_the_key_of_a_waiting_message_removes_it(client: Client, conversation: str, gate: Gate) -> None:
    first = begin(client, conversation)
    queued = enqueue(client, conversation, "second", key="k")
    answer = client.request("POST", f"/api/conversations/{conversation}/stop", headers={"Idempotency-Key": "k"})
    assert (answer.status, answer.json["id"]) == (200, queued.json["id"])
    assert waiting(client, conversation) == []
    gate.open()
    assert first.finish()["status"] == "complete"


def test_resume_begins_the_first_one(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    queued = enqueue(client, conversation, "second").json
    client.stop(conversation)
    answer = client.request("POST", f"/api/conversations/{conversation}/resume")
    assert (answer.status, answer.json["running_message_id"]) == (200, queued["reply_id"])
    client.follow(conversation, queued["reply_id"]).finish()
    again = client.request("POST", f"/api/conversations/{conversation}/resume")
    assert (again.status, again.json["running_message_id"]) == (200, None)


def test_an_interrupting_send_goes_first(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    enqueue(client, conversation, "second")
    now = client.send(conversation, "now", when_busy="interrupt")
    assert now.finish()["status"] == "complete"
    wait_until_idle(client, conversation)
    questions = [content for role, content, _ in said(client, conversation) if role == "user"]
    assert questions == ["first", "now", "second"]


def test_a_waiting_message_is_changed_in_place(
    client: Client, conversation: str, gate: Gate, upstream: ScriptedUpstream
) -> None:
    begin(client, conversation)
    queued = enqueue(client, conversation, "second", temperature=0.1, max_tokens=9).json
    path = f"/api/conversations/{conversation}/messages/{queued['id']}"
    answer = client.request("PUT", path, {"content": "better", "temperature": 0.5})
    assert (answer.status, answer.json["content"], answer.json["status"]) == (200, "better", "queued")
    assert client.message(conversation, queued["id"])["content"] == "better"
    gate.open()
    wait_until_idle(client, conversation)
    call = upstream.generations("better")[0].body
    assert (call["temperature"], call["max_tokens"]) == (0.5, 9)


def test_a_waiting_message_is_removed(client: Client, conversation: str, gate: Gate) -> None:
    first = begin(client, conversation)
    queued = enqueue(client, conversation, "second").json
    follower = client.follow(conversation, queued["reply_id"])
    path = f"/api/conversations/{conversation}/messages/{queued['id']}"
    assert client.request("DELETE", path).status == 204
    assert follower.finish()["status"] == "stopped"
    assert client.request("DELETE", path).status == 404
    other = client.request("DELETE", f"/api/conversations/{conversation}/messages/{first.message_id}")
    assert (other.status, other.json["code"]) == (409, "not_queued")
    gate.open()
    first.finish()
    assert len(said(client, conversation)) == 2


@pytest.mark.parametrize("verb", ["regenerate", "continue", "activate"])
def test_other_verbs_refuse_a_waiting_message(client: Client, conversation: str, gate: Gate, verb: str) -> None:
    begin(client, conversation)
    queued = enqueue(client, conversation, "second").json
    body = None if verb == "activate" else {}
    answer = client.request("POST", f"/api/conversations/{conversation}/messages/{queued['id']}/{verb}", body)
    assert (answer.status, answer.json["code"]) == (409, "message_queued")
    gate.open()
    wait_until_idle(client, conversation)


def test_a_waiting_message_can_be_forked_when_it_has_had_its_turn(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    queued = enqueue(client, conversation, "second").json
    address, body = f"/api/conversations/{conversation}/fork", {"message_id": queued["id"]}
    refused = client.request("POST", address, body)
    assert (refused.status, refused.json["code"]) == (409, "message_queued")
    assert len(client.request("GET", "/api/conversations").json["items"]) == 1
    gate.open()
    wait_until_idle(client, conversation)
    assert said(client, client.request("POST", address, body).json["id"])[-1][1] == "second"


@pytest.mark.parametrize("verb", ["PUT", "POST"])
def test_only_a_send_can_wait(client: Client, conversation: str, verb: str) -> None:
    message = client.message(conversation, client.ask(conversation, "hello").message_id)
    path = f"/api/conversations/{conversation}/messages/{message['parent_id']}" + ("" if verb == "PUT" else "/regenerate")
    answer = client.request(verb, path, {"content": "x", "when_busy": "enqueue"} if verb == "PUT" else {"when_busy": "enqueue"})
    assert (answer.status, list(answer.json["fields"])) == (400, ["when_busy"])


def test_deleting_the_conversation_drops_them(
    client: Client, conversation: str, gate: Gate, upstream: ScriptedUpstream
) -> None:
    begin(client, conversation)
    queued = enqueue(client, conversation, "second").json
    follower = client.follow(conversation, queued["reply_id"])
    assert client.request("DELETE", f"/api/conversations/{conversation}").status == 204
    assert follower.finish()["status"] == "stopped"
    assert len(upstream.generations()) == 1


def test_a_fork_and_the_history_leave_them_out(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    enqueue(client, conversation, "second")
    fork = client.request("POST", f"/api/conversations/{conversation}/fork", {})
    assert [content for _, content, _ in said(client, fork.json["id"])] == ["first"]
    page = client.get(f"/api/conversations/{conversation}/messages?limit=1")
    assert [each["status"] for each in page["items"]] == ["streaming", "queued"]
    older = client.get(f"/api/conversations/{conversation}/messages?limit=1&cursor={page['next']}")
    assert [each["content"] for each in older["items"]] == ["first"]
    gate.open()
    wait_until_idle(client, conversation)


def test_an_edit_goes_before_what_waits_since_a_stop(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    enqueue(client, conversation, "second")
    reply = client.stop(conversation).json
    edited = client.open("PUT", f"/api/conversations/{conversation}/messages/{reply['parent_id']}", {"content": "other"})
    assert edited.finish()["status"] == "complete"
    assert waiting(client, conversation) == ["second"]
    client.request("POST", f"/api/conversations/{conversation}/resume")
    wait_until_idle(client, conversation)
    questions = [content for role, content, _ in said(client, conversation) if role == "user"]
    assert questions == ["other", "second"]


def test_it_is_queued_at_one_node_and_begun_at_another(
    client: Client, conversation: str, gate: Gate, other_node: Server, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("here", " it is"), done(), when="second")
    first = begin(client, conversation)
    elsewhere = client.at(other_node.port)
    second = elsewhere.send(conversation, "second", when_busy="enqueue")
    queued = enqueue(elsewhere, conversation, "third").json
    gate.open()
    first.finish()
    assert (second.finish()["status"], second.text) == ("complete", "here it is")
    assert client.follow(conversation, queued["reply_id"]).finish()["status"] == "complete"
    assert (
        asked(upstream)[-1]
        == [
            "first",
            "half whole",
            "second",
            "here it is",
            "third",
        ][-5:]
    )


def test_other_surfaces_wait_their_turn_behind_what_a_stop_kept(client: Client, conversation: str, gate: Gate) -> None:
    begin(client, conversation)
    enqueue(client, conversation, "second")
    client.stop(conversation)
    body = {"message": {"content": "third"}, "stream": False}
    answer = client.request("POST", f"/conversations/{conversation}/messages", body)
    assert answer.status == 200, answer
    questions = [content for role, content, _ in said(client, conversation) if role == "user"]
    assert questions == ["first", "second", "third"]
