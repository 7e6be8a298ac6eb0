"""deploy/haproxy/haproxy.cfg, with real nodes: conversations keep their node, and a frozen node is left."""

import http.client
from collections.abc import Iterator

import pytest

from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.haproxy import MISSING, find_haproxy, running_haproxy
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.servers import StartServer
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

from .cluster import node_of

pytestmark = pytest.mark.skipif(find_haproxy() is None, reason=MISSING)


@pytest.fixture(scope="module")
def nodes(new_server: StartServer) -> Iterator[dict[int, Server]]:
    with new_server() as one, new_server() as other:
        yield {one.port: one, other.port: other}


@pytest.fixture
def client(nodes: dict[int, Server]) -> Iterator[Client]:
    with running_haproxy(*nodes) as port:
        user = Client(port, make_token())
        yield user
        user.close()


def test_a_conversation_s_requests_go_to_one_node(nodes: dict[int, Server], client: Client) -> None:
    used = set()
    for _ in range(12):
        conversation = client.create_conversation()
        stream = client.ask(conversation, "where")
        read = client.request("GET", f"/api/conversations/{conversation}")
        assert node_of(stream) == node_of(read) == node_of(client.follow(conversation, stream.message_id))
        used.add(node_of(stream))
    assert used == set(nodes)
    assert client.request("GET", "/metrics").status == 404


def test_a_frozen_node_is_left(nodes: dict[int, Server], client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("shown"), hold(gate := upstream.gate()), tokens(" and on"), done(), when="running")
    conversation = client.create_conversation()
    stream = client.send(conversation, "running")
    stream.read_until("shown")
    frozen = node_of(stream)
    [other] = set(nodes) - {frozen}
    nodes[frozen].freeze()
    try:
        paths = ["/api/health", "/api/conversations", f"/api/conversations/{conversation}"] * 6
        answers = at_once(lambda number: client.request("GET", paths[number]), len(paths))
        assert {(answer.status, node_of(answer)) for answer in answers} == {(200, other)}
        # The health checks have noticed by then. Streams of that node are cut off, so that their readers go on elsewhere.
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.body()
        assert node_of(client.follow(conversation, stream.message_id)) == other
        asked = client.ask(client.create_conversation(), "who answers?")
        assert (node_of(asked), asked.text) == (other, "who answers?")
    finally:
        nodes[frozen].thaw()
    gate.open()
    reader = client.follow(conversation, stream.message_id)
    assert (reader.finish()["status"], reader.text) == ("complete", "shown and on")
