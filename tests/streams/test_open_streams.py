"""How many streams a user may have open at once."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client, Stream
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

MOST = 3
KEY = {"Idempotency-Key": "once"}


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(USER_MAX_STREAMS=str(MOST)) as server:
        yield server


@pytest.fixture
def sender(client: Client, conversation: str, upstream: ScriptedUpstream) -> Stream:
    """The first of the user's streams, of a reply that does not end."""
    upstream.script(tokens("one"), hold(upstream.gate()), done(), when="go")
    stream = client.send(conversation, "go", headers=KEY)
    stream.read_until("one")
    return stream


def assert_refused(stream: Stream) -> None:
    assert (stream.status, stream.json["code"]) == (429, "too_many_streams")
    assert int(stream.headers["Retry-After"]) > 0


def test_one_stream_too_many_is_refused(client: Client, conversation: str, sender: Stream, service: Server) -> None:
    followers = [client.follow(conversation, sender.message_id) for _ in range(MOST - 1)]
    assert [follower.status for follower in followers] == [200, 200]
    assert_refused(client.follow(conversation, sender.message_id))
    assert_refused(client.send(conversation, "go", headers=KEY))
    other = Client(service.port, make_token())
    assert other.ask(other.create_conversation(), "hello").text == "hello"
    other.close()


def test_of_many_at_once_only_so_many_are_opened(client: Client, conversation: str, sender: Stream) -> None:
    statuses = at_once(lambda _: client.follow(conversation, sender.message_id).status, 12)
    assert sorted(statuses) == [200] * (MOST - 1) + [429] * (12 - MOST + 1)


def test_a_refused_send_saves_nothing(client: Client, conversation: str, sender: Stream, upstream: ScriptedUpstream) -> None:
    for _ in range(MOST - 1):
        client.follow(conversation, sender.message_id)
    other = client.create_conversation()
    assert_refused(client.send(other, "too much"))
    assert_refused(client.send(other, "too much", stream=False))
    assert client.messages(other) == []
    # What opens no stream is not refused.
    path = f"/api/conversations/{other}/messages"
    upstream.script(tokens("later"), done(), when="in the background")
    answer = client.request("POST", path, {"content": "in the background"}, {"Prefer": "respond-async"})
    assert answer.status == 202


@pytest.mark.parametrize("leave", [Stream.close, Stream.abort], ids=["in good order", "abruptly"])
def test_a_client_that_left_makes_room_at_once(client: Client, conversation: str, sender: Stream, leave: object) -> None:
    followers = [client.follow(conversation, sender.message_id) for _ in range(MOST - 1)]
    # The reply is silent, so the server writes to none of them.
    leave(followers[0])  # type: ignore[operator]
    follower = wait_until(lambda: _open(client, conversation, sender.message_id), "there is room")
    follower.read_until("one")
    assert_refused(client.follow(conversation, sender.message_id))


def test_streams_that_ended_make_room(client: Client) -> None:
    for number in range(2 * MOST):
        conversation = client.create_conversation()
        stream = client.ask(conversation, f"turn {number}")
        client.follow(conversation, stream.message_id).finish()
        answer = client.request("POST", f"/api/conversations/{conversation}/messages", {"content": "json", "stream": False})
        assert answer.status == 200


def test_finished_messages_that_are_waited_for_count(client: Client, sender: Stream, upstream: ScriptedUpstream) -> None:
    upstream.script(hold(upstream.gate()), when="wait")
    waiting = client.create_conversation()

    def wait(_: int) -> int:
        # The same send, so that it waits for the same reply.
        headers = {**KEY, "Accept": "application/json"}
        answer = client.request("POST", f"/api/conversations/{waiting}/messages", {"content": "wait"}, headers)
        if answer.status == 429:
            client.stop(waiting)
        return answer.status

    assert sorted(at_once(wait, MOST)) == [200, 200, 429]


def _open(client: Client, conversation: str, message_id: str) -> Stream | None:
    stream = client.follow(conversation, message_id)
    return stream if stream.status == 200 else None
