"""Which requests read from the replica: with its replay stopped, they answer with what was true before."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.replica.standby import Marks, Pair, add_history
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server

EARLIER, LATER = "earlier", "later"


@pytest.fixture
def user_id() -> UUID:
    return uuid4()


@pytest.fixture
def user(service: Server, user_id: UUID) -> Iterator[Client]:
    client = Client(service.port, make_token(user_id, admin=True))
    # The first request of a user adds them to the directory of users.
    client.get("/api/assistants")
    yield client
    client.close()


@pytest.fixture
def behind(pair: Pair, marks: Marks, user: Client, user_id: UUID) -> Iterator[None]:
    """A replica that lacks the newest conversation of a user, who has written nothing lately."""
    add_history(pair, user_id, EARLIER)
    marks.expire()
    with pair.replay_stopped():
        add_history(pair, user_id, LATER)
        yield


def texts(answer: Any) -> str:
    """Everything in an answer, as text."""
    return str(answer)


@pytest.mark.parametrize(
    "path", ["/api/conversations", "/conversations", f"/api/search?q={EARLIER}+OR+{LATER}", "/conversation", "/api/admin/users"]
)
@pytest.mark.usefixtures("behind")
def test_lists_and_search_read_from_the_replica(user: Client, user_id: UUID, path: str) -> None:
    found = user.get(path)
    if path == "/api/admin/users":
        (own,) = [one for one in found["items"] if one["id"] == str(user_id)]
        assert own["conversation_count"] == 1
    else:
        assert EARLIER in texts(found)
        assert LATER not in texts(found)


@pytest.mark.usefixtures("behind")
def test_usage_reads_from_the_replica(user: Client) -> None:
    assert user.get("/api/usage")["total"]["messages"] == 1


@pytest.mark.usefixtures("user")
def test_a_conversation_is_read_from_the_primary(pair: Pair, marks: Marks, user: Client, user_id: UUID) -> None:
    conversation_id = add_history(pair, user_id, EARLIER)
    marks.expire()
    with pair.replay_stopped():
        pair.write("UPDATE conversations SET title = %s WHERE id = %s", LATER, conversation_id)
        assert user.conversation(str(conversation_id))["title"] == LATER
        assert user.get("/api/conversations")["items"][0]["title"] == EARLIER
