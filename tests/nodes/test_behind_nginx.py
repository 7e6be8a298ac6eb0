"""Two nodes behind nginx: streams are not buffered, readers find their reply, limits are shared, a dead node loses nothing."""

import http.client

import pytest

from tests.support.client import Client
from tests.support.parallel import at_once
from tests.support.steps import done, hold, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .cluster import Cluster, node_of

TEXTS = ["Hello", " wörld", " 👩‍👩‍👧", " and", " on"]
WHOLE = "".join(TEXTS)


def test_a_token_arrives_while_the_upstream_holds_the_rest_back(client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens(TEXTS[0]), hold(gate), tokens(*TEXTS[1:]), done())
    stream = client.send(client.create_conversation(), "unbuffered")
    stream.read_until(TEXTS[0])
    assert not gate.is_open
    gate.open()
    assert (stream.finish()["status"], stream.text) == ("complete", WHOLE)


def test_a_conversation_s_requests_go_to_one_node(cluster: Cluster, client: Client, upstream: ScriptedUpstream) -> None:
    nodes = set()
    for _ in range(12):
        conversation = client.create_conversation()
        stream = client.send(conversation, "where")
        stream.finish()
        reader = client.follow(conversation, stream.message_id, "?after=1")
        read = client.request("GET", f"/api/conversations/{conversation}")
        assert node_of(stream) == node_of(reader) == node_of(read)
        nodes.add(node_of(stream))
    assert nodes == set(cluster.ports)


def test_readers_go_on_at_the_other_node_when_one_is_killed(
    cluster: Cluster, client: Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("shown", " and saved"), stall(), when="die")
    upstream.script(tokens(*TEXTS[:2]), hold(gate := upstream.gate()), tokens(*TEXTS[2:]), done(), when="live")
    doomed = conversation_at(cluster, client, cluster.ports[0])
    stream = client.send(doomed, "die")
    stream.read_until(" and saved")
    safe = conversation_at(cluster, client, cluster.ports[1])
    other = client.send(safe, "live")
    other.read_until(TEXTS[1])
    # A kill loses what was shown since the last checkpoint.
    wait_until(lambda: client.message(doomed, stream.message_id)["content"] == "shown and saved", "a checkpoint has saved it")
    early = next(frame.id for frame in stream.frames if frame.id)

    cluster.nodes[cluster.ports[0]].kill()
    try:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.body()
        reader = client.follow(doomed, stream.message_id, last_event_id=early)
        assert node_of(reader) == cluster.ports[1]
        assert (reader.finish()["status"], "shown and saved"[:early] + reader.text) == ("interrupted", "shown and saved")
        following = client.ask(doomed, "go on")
        assert (node_of(following), following.text) == (cluster.ports[1], "go on")
        gate.open()
        assert (other.finish()["status"], other.text) == ("complete", WHOLE)
    finally:
        cluster.restart(cluster.ports[0], client)


def test_a_frozen_node_holds_up_neither_reads_nor_sends(cluster: Cluster, client: Client, upstream: ScriptedUpstream) -> None:
    conversations = [conversation_at(cluster, client, cluster.ports[0]) for _ in range(2)]
    # One stopped worker of several would stop a part of the requests only. So does a machine that has no memory left.
    cluster.nodes[cluster.ports[0]].freeze()
    try:
        paths = ["/api/health", "/api/conversations", *(f"/api/conversations/{name}" for name in conversations)] * 6
        answers = at_once(lambda number: client.request("GET", paths[number]), len(paths))
        assert {(answer.status, node_of(answer)) for answer in answers} == {(200, cluster.ports[1])}
        # Now nginx knows.
        for conversation in conversations:
            stream = client.ask(conversation, "who answers?")
            assert (node_of(stream), stream.text) == (cluster.ports[1], "who answers?")
    finally:
        cluster.nodes[cluster.ports[0]].thaw()
    cluster.wait_until_used(cluster.ports[0], client)


def test_a_user_s_limit_counts_at_both_nodes_together(cluster: Cluster, client: Client, upstream: ScriptedUpstream) -> None:
    conversations = [client.create_conversation() for _ in range(44)]

    def send(number: int) -> tuple[int, int]:
        stream = client.send(conversations[number], "counted", headers={"Prefer": "respond-async"})
        return node_of(stream), stream.status

    answers = at_once(send, len(conversations))
    passed = [node for node, status in answers if status == 202]
    # THROTTLE_SEND of the cluster is 40 a day.
    assert (len(passed), {status for _, status in answers}) == (40, {202, 429})
    assert set(passed) == set(cluster.ports)


def test_an_address_that_a_client_invents_does_not_count(cluster: Cluster) -> None:
    def guess(number: int) -> int:
        guesser = Client(cluster.nginx.port, f"guess-{number}")
        return guesser.request("GET", "/api/conversations", headers={"X-Forwarded-For": f"198.51.100.{number}"}).status

    # THROTTLE_REJECTED_TOKENS of the cluster is 5 a day.
    statuses = [guess(number) for number in range(8)]
    assert statuses == [401] * 5 + [429] * 3


def conversation_at(cluster: Cluster, client: Client, port: int) -> str:
    """Make a conversation whose requests nginx sends to this node."""

    def make() -> str:
        conversation = client.create_conversation()
        return conversation if node_of(client.request("GET", f"/api/conversations/{conversation}")) == port else ""

    return wait_until(make, "a conversation of this node")
