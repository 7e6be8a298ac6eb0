"""How many replies anonymous callers may have running at once, told apart by address behind a proxy."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from conversations.surfaces.conftest import MakeAssistant
from tests.conftest import StartServer
from tests.support.client import Client, Stream
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream

Say = Callable[..., Stream]
# A test's replies may still be ending when the next test begins, so each has addresses of its own.
FIRST, SECOND, THIRD, FOURTH, FIFTH = (f"203.0.113.{number}" for number in range(1, 6))


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(ALLOW_ANONYMOUS="true", ANONYMOUS_MAX_GENERATIONS="2", TRUSTED_PROXIES="127.0.0.1") as server:
        yield server


@pytest.fixture
def say(service: Server, make_assistant: MakeAssistant) -> Iterator[Say]:
    """Send a message of an anonymous caller, as a proxy would hand it on."""
    assistant, opened = make_assistant(public=True), []

    def send(address: str, message: str = "hi", session_id: str = "", key: str = "") -> Stream:
        client = Client(service.port, None)
        opened.append(client)
        headers = {"X-Forwarded-For": address, **({"Idempotency-Key": key} if key else {})}
        body = {"session_id": session_id or str(uuid.uuid4()), "message": message, "assistant_id": assistant}
        return client.open("POST", "/api/v1/chat/stream", body, headers)

    yield send
    for client in opened:
        client.close()


def test_two_replies_at_once_for_each_address(say: Say, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), done())
    running = [say(FIRST), say(FIRST), say(SECOND)]
    refused = say(FIRST)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
    assert refused.json["code"] == "too_many_generations"
    gate.open()
    assert [stream.finish()["status"] for stream in running] == ["complete"] * 3
    assert say(FIRST).finish()["status"] == "complete"


def test_simultaneous_sends_do_not_exceed_it(say: Say, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), done())
    streams = at_once(lambda _: say(THIRD), 10)
    gate.open()
    assert sorted(stream.status for stream in streams) == [200] * 2 + [429] * 8


def test_a_client_that_leaves_does_not_free_its_place(say: Say, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), done())
    for _ in range(2):
        stream = say(FOURTH)
        stream.read_until("a")
        stream.abort()
    assert say(FOURTH).status == 429
    gate.open()


def test_refused_sends_take_no_place(say: Say, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable"))
    assert [say(FIFTH).status for _ in range(3)] == [503] * 3
    assert [say(FIFTH, message=" ").status for _ in range(3)] == [400] * 3


def test_a_user_is_not_counted(service: Server, client: Client, say: Say, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), done())
    for number in range(3):
        body = {"session_id": f"mine-{number}", "message": "hi"}
        assert client.open("POST", "/api/v1/chat/stream", body).status == 200
    gate.open()
