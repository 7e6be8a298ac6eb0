"""Limits of users whose messages wait, and messages that arrive at the moment when a reply ends."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.streams.test_queue import begin, enqueue, said, wait_until_idle, waiting
from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def one_at_a_time(new_server: StartServer) -> Iterator[Server]:
    with new_server(USER_MAX_GENERATIONS="1") as server:
        yield server


@pytest.fixture(scope="module")
def frugal(new_server: StartServer) -> Iterator[Server]:
    with new_server(QUOTA_TOKENS_DAY="2") as server:
        yield server


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


def test_it_waits_on_while_its_user_has_too_many_running_replies(
    one_at_a_time: Server, client: Client, upstream: ScriptedUpstream
) -> None:
    user = client.at(one_at_a_time.port)
    first, other = upstream.gate(), upstream.gate()
    upstream.script(tokens("half"), hold(first), done(), when="first")
    upstream.script(tokens("half"), hold(other), done(), when="other")
    conversation, elsewhere = user.create_conversation(), user.create_conversation()
    begin(user, conversation)
    queued = enqueue(user, conversation, "second").json
    user.stop(conversation)
    running = user.send(elsewhere, "other")
    running.read_until("half")
    answer = user.request("POST", f"/api/conversations/{conversation}/resume")
    assert (answer.status, answer.json["running_message_id"]) == (200, None)
    assert waiting(user, conversation) == ["second"]
    other.open()
    running.finish()
    assert user.follow(conversation, queued["reply_id"]).finish()["status"] == "complete"


@pytest.mark.one_day
def test_a_quota_that_is_used_up_by_its_turn_fails_it_and_keeps_the_rest(
    frugal: Server, client: Client, upstream: ScriptedUpstream
) -> None:
    user = client.at(frugal.port)
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" and", " whole"), done(), when="first")
    conversation = user.create_conversation()
    first = begin(user, conversation)
    second = user.send(conversation, "second", when_busy="enqueue")
    enqueue(user, conversation, "third")
    gate.open()
    first.finish()
    assert second.finish()["status"] == "failed"
    assert second.objects[-2]["error"] == "quota_exceeded"
    reply = user.message(conversation, second.message_id)
    assert (reply["status"], reply["error_code"], reply["content"]) == ("failed", "quota_exceeded", "")
    assert waiting(user, conversation) == ["third"]
    assert upstream.generations("second") == []
    refused = enqueue(user, conversation, "fourth")
    assert (refused.status, refused.json["code"]) == (429, "quota_exceeded")


@pytest.mark.parametrize("attempt", range(5))
def test_messages_that_meet_the_end_of_a_reply_have_one_turn_each(
    client: Client, upstream: ScriptedUpstream, other_node: Server, attempt: int
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), done(), when="first")
    conversation = client.create_conversation()
    first = begin(client, conversation)
    users = [client, client.at(other_node.port)]

    def act(number: int) -> int:
        if number == 0:
            gate.open()
            return 0
        return enqueue(users[number % 2], conversation, f"number {number}").status

    assert set(at_once(act, 5)) == {0, 202}
    first.finish()
    wait_until_idle(client, conversation)
    found = said(client, conversation)
    assert sorted(content for role, content, _ in found if role == "user") == ["first", *(f"number {n}" for n in range(1, 5))]
    assert {status for *_, status in found} == {"complete"}
    assert len(found) == 10


def test_a_stop_and_the_end_at_once_lose_nothing(client: Client, upstream: ScriptedUpstream, other_node: Server) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), done(), when="first")
    conversation = client.create_conversation()
    first = begin(client, conversation)
    enqueue(client, conversation, "second")
    users = [client, client.at(other_node.port)]

    def act(number: int) -> int:
        if number == 0:
            gate.open()
            return 200
        return users[number % 2].stop(conversation).status

    assert set(at_once(act, 3)) == {200}
    assert first.finish()["status"] in ("complete", "stopped")
    client.request("POST", f"/api/conversations/{conversation}/resume")
    wait_until_idle(client, conversation)
    wait_until(
        lambda: [content for role, content, _ in said(client, conversation) if role == "user"] == ["first", "second"], "both"
    )
