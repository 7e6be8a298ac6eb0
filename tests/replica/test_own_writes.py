"""A user's lists have what the user did, at every node, although the replica lacks it."""

from collections.abc import Iterator

import pytest

from tests.replica.standby import Marks, Pair
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


@pytest.fixture
def here(nodes: list[Server]) -> Iterator[Client]:
    client = Client(nodes[0].port, make_token())
    yield client
    client.close()


@pytest.fixture
def there(here: Client, nodes: list[Server]) -> Client:
    """The same user at the other node."""
    return here.at(nodes[1].port)


def titles(client: Client) -> list[str]:
    return [one["title"] for one in client.get("/api/conversations")["items"]]


def test_what_a_user_changes_is_in_the_next_list(pair: Pair, marks: Marks, here: Client, there: Client) -> None:
    kept = here.create_conversation(title="kept")
    deleted = here.create_conversation(title="deleted")
    marks.expire()
    with pair.replay_stopped():
        # Without a write, the other node reads what the replica has.
        pair.write("UPDATE conversations SET title = 'by other software' WHERE id = %s", kept)
        assert titles(there) == ["deleted", "kept"]
        here.create_conversation(title="new")
        assert titles(there) == ["new", "deleted", "by other software"]
        marks.expire()
        assert titles(there) == ["deleted", "kept"]
        assert here.request("PATCH", f"/api/conversations/{kept}", {"title": "renamed"}).status == 200
        assert titles(there) == ["new", "deleted", "renamed"]
        marks.expire()
        assert here.request("DELETE", f"/api/conversations/{deleted}").status == 204
        assert titles(there) == ["new", "renamed"]


def test_what_a_user_sends_is_in_the_next_list_search_and_usage(pair: Pair, marks: Marks, here: Client, there: Client) -> None:
    conversation = here.create_conversation()
    marks.expire()
    with pair.replay_stopped():
        assert titles(there) == ["New conversation"]
        here.ask(conversation, "marmalade")
        assert titles(there) == ["marmalade"]
        found = [item["in"] for item in there.get("/api/search?q=marmalade")["items"]]
        assert sorted(found) == ["message", "message", "title"]
        assert there.get("/api/usage")["total"]["replies"] == 1


def test_the_end_of_a_reply_is_in_the_next_list(
    pair: Pair, marks: Marks, here: Client, there: Client, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("first"), hold(gate), tokens(" last"), done(), when="slowly")
    conversation = here.create_conversation()
    stream = here.send(conversation, "slowly")
    stream.read_until("first")
    # The send is long ago, and the replica has it.
    with pair.replay_stopped():
        marks.expire()
        gate.open()
        assert stream.finish()["status"] == "complete"
        (listed,) = there.get("/api/conversations")["items"]
        assert listed["running_message_id"] is None
        assert there.get("/api/usage")["total"]["tokens"] > 0
    pair.wait_for_standby()
    with pair.replay_stopped():
        # When the replica has the end, the user reads from there again.
        pair.write("UPDATE conversations SET title = 'by other software' WHERE id = %s", conversation)
        assert titles(there) == ["slowly"]


def test_an_emptied_cache_sends_everyone_to_the_primary(pair: Pair, marks: Marks, here: Client, there: Client) -> None:
    conversation = here.create_conversation(title="before")
    marks.expire()
    with pair.replay_stopped():
        assert here.request("PATCH", f"/api/conversations/{conversation}", {"title": "after"}).status == 200
        marks.empty_cache()
        assert titles(there) == ["after"]
        assert titles(there) == ["after"]
        marks.expire()
        wait_until(lambda: titles(there) == ["before"], "the user reads from the replica again")
