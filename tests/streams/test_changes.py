"""The stream of /api/changes: on two nodes, resumed, limited, and with clients that are slow or gone."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client, Stream
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

ADDRESS = "/api/changes"
EVENTS = {"Accept": "text/event-stream"}
MOST = 3
# Of the random test.
WRITERS, CHANGES_EACH = 6, 20
READERS = (("pages", 1), ("pages", 2), ("pages", 7), ("stream", 0), ("stream", 1))


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(USER_MAX_CHANGE_STREAMS=str(MOST), HEARTBEAT_SECONDS="1") as server:
        yield server


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


class Known:
    """A client's local copy of the list, and every state that it was told."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[str, str]] = []

    def take(self, event: dict[str, Any]) -> str:
        for item in event["conversations"]:
            self.items[item["id"]] = item
            self.told.append((item["id"], str(item)))
        for gone in event["deleted"]:
            self.items.pop(gone, None)
            self.told.append((gone, "gone"))
        return str(event["next"])


class Copy(Known):
    """A local copy that is kept in step by a stream."""

    def __init__(self, client: Client, cursor: str | None = None) -> None:
        super().__init__()
        self._client = client
        self.stream = self._open(cursor)

    def _open(self, cursor: str | None) -> Stream:
        stream = self._client.open("GET", ADDRESS, headers={**EVENTS, **({"Last-Event-ID": cursor} if cursor else {})})
        assert stream.status == 200, stream.json
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        self.cursor = self.take(stream.read_object())
        return stream

    def read(self) -> dict[str, Any]:
        event = self.stream.read_object()
        self.cursor = self.take(event)
        assert next(frame.event_id for frame in reversed(self.stream.frames) if frame.object) == self.cursor
        return event

    def come_back(self, client: Client) -> None:
        self.stream.abort()
        self._client = client
        self.stream = self._open(self.cursor)


def test_a_change_at_another_node_is_told(client: Client, conversation: str, other_node: Server) -> None:
    copy = Copy(client)
    changed = client.at(other_node.port).request("PATCH", f"/api/conversations/{conversation}", {"title": "Tea"}).json
    assert copy.read()["conversations"] == [changed]
    client.at(other_node.port).request("DELETE", f"/api/conversations/{conversation}")
    assert copy.read()["deleted"] == [conversation]


def test_the_begin_and_the_end_of_a_reply_are_told(
    client: Client, conversation: str, other_node: Server, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), done(), when="go")
    copy = Copy(client.at(other_node.port))
    stream = client.send(conversation, "go")
    [begun] = copy.read()["conversations"]
    assert begun["running_message_id"] == stream.message_id
    gate.open()
    stream.finish()
    [ended] = copy.read()["conversations"]
    assert (ended["id"], ended["running_message_id"]) == (conversation, None)


def test_a_stream_goes_on_after_the_last_event_at_any_node(client: Client, other_node: Server) -> None:
    copy = Copy(client)
    made = [client.create_conversation() for _ in range(2)]
    while len(copy.items) < 2:
        copy.read()
    copy.come_back(client.at(other_node.port))
    assert not copy.stream.objects[0]["conversations"]
    copy.stream.abort()
    made.append(client.create_conversation())
    copy.come_back(client)
    assert sorted(copy.items) == sorted(made)
    assert len(copy.told) == 3


def test_pings_keep_a_silent_stream_open(client: Client) -> None:
    copy = Copy(client)
    wait_until(lambda: copy.stream.read() and "ping" in copy.stream.comments, "a ping")
    assert "stream" in copy.stream.comments


def test_only_so_many_streams_are_open_for_a_user(client: Client, service: Server) -> None:
    streams = [client.open("GET", ADDRESS, headers=EVENTS) for _ in range(MOST)]
    refused = client.request("GET", ADDRESS, headers=EVENTS)
    assert (refused.status, refused.json["code"]) == (429, "too_many_streams")
    assert int(refused.headers["Retry-After"]) > 0
    # They are counted apart from streams of replies, and each user's apart from others'.
    assert client.ask(client.create_conversation(), "hello").text == "hello"
    assert client.get(ADDRESS)["next"]
    other = Client(service.port, make_token())
    Copy(other)
    other.close()
    streams[0].abort()
    assert wait_until(lambda: client.open("GET", ADDRESS, headers=EVENTS).status == 200, "there is room")


def test_an_expired_cursor_is_an_error_of_the_request(client: Client) -> None:
    answer = client.request("GET", ADDRESS, headers={**EVENTS, "Last-Event-ID": "of-another-service"})
    assert (answer.status, answer.json["code"]) == (410, "cursor_expired")
    assert answer.headers["Content-Type"] == "application/json"


def test_a_client_that_does_not_read_gets_the_newest_state_later(client: Client, conversation: str, service: Server) -> None:
    slow = client.open("GET", ADDRESS, headers=EVENTS, receive_buffer=4096)
    quick = Copy(client)
    title = "x" * 490
    for number in range(30):
        client.request("PATCH", f"/api/conversations/{conversation}", {"title": f"{title} {number}"})
        while quick.items.get(conversation, {}).get("title") != f"{title} {number}":
            quick.read()
    while not (slow.objects and slow.objects[-1]["conversations"] == [quick.items[conversation]]):
        slow.read_object()


def test_streams_end_when_the_server_does(new_server: StartServer) -> None:
    with new_server() as server:
        client = Client(server.port, make_token())
        copy = Copy(client)
        server.terminate()
        while copy.stream.read() is not None:
            pass
        client.close()


@pytest.mark.slow
def test_many_writers_and_readers_at_two_nodes(client: Client, other_node: Server, database_url: str) -> None:
    """Every reader ends with what the list has, whatever its limit, and is told no state twice. Some commits are late."""
    seed = random.randrange(2**32)
    nodes = [client, client.at(other_node.port)]
    start = client.get(ADDRESS)["next"]

    def read_pages(limit: int) -> Known:
        known, at, body = Known(), nodes[limit % 2], {"next": start, "has_more": True}
        while body["has_more"] or not has_end(known):
            body = at.get(f"{ADDRESS}?since={body['next']}&limit={limit}")
            assert len(body["conversations"]) + len(body["deleted"]) <= limit
            known.take(body)
        return known

    def read_stream(returns: int) -> Known:
        copy = Copy(nodes[returns], start)
        while copy.stream.objects[-1]["has_more"] or not has_end(copy):
            copy.read()
            if returns:
                copy.come_back(nodes[len(copy.told) % 2])
        return copy

    def read_or_write(number: int) -> Known | None:
        if number < len(READERS):
            kind, how = READERS[number]
            return read_pages(how) if kind == "pages" else read_stream(how)
        make_changes(nodes, database_url, number, seed)
        with lock:
            writing.discard(number)
            if not writing:
                client.create_conversation(title="the end")
        return None

    lock, writing = threading.Lock(), set(range(len(READERS), len(READERS) + WRITERS))
    readers = [known for known in at_once(read_or_write, len(READERS) + WRITERS) if known is not None]
    listed = {item["id"]: item for item in client.get("/api/conversations?limit=200")["items"]}
    for known in readers:
        assert known.items == listed, seed
        assert len(set(known.told)) == len(known.told), seed


def make_changes(nodes: list[Client], database_url: str, number: int, seed: int) -> None:
    """Change a user's conversations at both nodes, now and then by a transaction that commits late."""
    chance = random.Random(f"{seed} {number}")
    mine = [nodes[number % 2].create_conversation()]
    for step in range(CHANGES_EACH):
        at, chosen, action = chance.choice(nodes), chance.choice(mine), chance.randrange(5)
        if action == 0:
            mine.append(at.create_conversation())
        elif action == 1 and len(mine) > 1:
            mine.remove(chosen)
            at.request("DELETE", f"/api/conversations/{chosen}")
        elif action == 2:
            at.ask(chosen, f"turn {step}")
        elif action == 3:
            with psycopg.connect(database_url) as connection:
                connection.execute("UPDATE conversations SET title = %s WHERE id = %s", [f"slowly {number} {step}", chosen])
                time.sleep(chance.random() / 5)
        else:
            at.request("PATCH", f"/api/conversations/{chosen}", {"title": f"{number} {step}"})


def has_end(known: Known) -> bool:
    return any(item["title"] == "the end" for item in known.items.values())
