"""A reply is one thing on all nodes that share a database."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

TEXTS = ["Hello", " wörld", " 👩‍👩‍👧", " e\u0301", " end"]
WHOLE = "".join(TEXTS)


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server(HEARTBEAT_SECONDS="0.5") as server:
        yield server


def test_a_reply_is_followed_while_it_runs_elsewhere(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS[:3]), hold(gate), tokens(*TEXTS[3:]), done())
    sender = client.send(conversation, "far away")
    reader = client.at(other_node.port).follow(conversation, sender.message_id, "?after=3")
    reader.read_until(TEXTS[2])
    gate.open()
    assert reader.finish()["status"] == "complete"
    reader.close()
    assert reader.text == WHOLE[3:]
    assert reader.last_event_id == len(WHOLE)


def test_a_reader_changes_nodes_without_losing_anything(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS[:3]), hold(gate), tokens(*TEXTS[3:]), done())
    elsewhere = client.at(other_node.port)
    sender = client.send(conversation, "to and fro")
    sender.read_until(TEXTS[1])
    offset, text = sender.last_event_id, sender.text
    sender.abort()
    reader = elsewhere.follow(conversation, sender.message_id, last_event_id=offset)
    reader.read_until(TEXTS[2])
    offset, text = reader.last_event_id, text + reader.text
    reader.abort()
    back = client.follow(conversation, sender.message_id, last_event_id=offset)
    gate.open()
    assert back.finish()["status"] == "complete"
    assert text + back.text == WHOLE


def test_a_reader_that_is_ahead_waits_for_the_end_elsewhere(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS), hold(gate), done())
    sender = client.send(conversation, "ahead")
    sender.read_until(TEXTS[-1])
    reader = client.at(other_node.port).follow(conversation, sender.message_id, "?after=2147483647")
    gate.open()
    assert (reader.finish()["status"], reader.text) == ("complete", "")


def test_many_readers_of_a_reply_that_runs_elsewhere_ask_the_database_together(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server, database_url: str
) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS[:3]), hold(gate), tokens(*TEXTS[3:]), done())
    sender = client.send(conversation, "far away")
    sender.read_until(TEXTS[2])
    elsewhere = client.at(other_node.port)
    readers = [elsewhere.follow(conversation, sender.message_id, f"?after={number % 9}") for number in range(40)]
    for reader in readers:
        reader.read_until(TEXTS[2])
    clock = elsewhere.follow(conversation, sender.message_id)
    before = transactions(database_url)
    while clock.comments.count("ping") < 12:
        clock.read()
    # Each by itself would have asked twice a second, 480 times in these 6 s. PostgreSQL counts some of what was before late.
    assert transactions(database_url) - before < 400
    gate.open()
    for number, reader in enumerate(readers):
        assert reader.finish()["status"] == "complete"
        assert reader.text == WHOLE[number % 9 :]


def test_a_reply_is_stopped_from_elsewhere(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    upstream.script(tokens("so far"), hold(upstream.gate()))
    sender = client.send(conversation, "stop me")
    sender.read_until("so far")
    answer = client.at(other_node.port).stop(conversation)
    assert (answer.status, answer.json["status"], answer.json["content"]) == (200, "stopped", "so far")
    upstream.generations()[0].wait_client_left()
    assert sender.finish()["status"] == "stopped"


def test_a_stop_answers_with_what_it_stopped_although_the_next_reply_runs(
    client: Client, upstream: ScriptedUpstream, other_node: Server
) -> None:
    conversations = [client.create_conversation() for _ in range(6)]
    upstream.script(tokens("running"), hold(gate := upstream.gate()), tokens(" on"), done(), when="go on")
    upstream.script(tokens("so far"), hold(upstream.gate()), when="stop me")
    senders = [client.send(conversation, "stop me") for conversation in conversations]
    for sender in senders:
        sender.read_until("so far")

    def stop_or_send_on(number: int) -> str:
        conversation = conversations[number // 2]
        if number % 2:
            return str(client.at(other_node.port).stop(conversation).json["id"])
        senders[number // 2].finish()
        following = client.send(conversation, "go on")
        following.read_until("running")
        return following.message_id

    answers = at_once(stop_or_send_on, 2 * len(conversations))
    gate.open()
    assert answers[1::2] == [sender.message_id for sender in senders]


def test_one_running_reply_holds_across_nodes(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    upstream.script(hold(upstream.gate()))
    client.open("POST", f"/api/conversations/{conversation}/messages", {"content": "a"}, {"Prefer": "respond-async"})
    refused = client.at(other_node.port).send(conversation, "b")
    assert (refused.status, refused.json["code"]) == (409, "generation_in_progress")
    refused.close()
    wait_until(lambda: upstream.generations(), "the upstream was asked")
    client.stop(conversation)


def transactions(database_url: str) -> int:
    """Return how many transactions this database has seen."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert row
        return int(row[0])
