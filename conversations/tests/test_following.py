"""Following a reply from its row."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

from conversations.models import Message
from conversations.services import following
from conversations.services.following import StoredFollower, follow_reply
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply
from tests.support.waiting import LIMIT_S

TEXT = "Hé 🎈👩‍💻 e\u0301nd"


def objects(frames: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(payload) for _, payload in frames]


def read_to_end(follower: Any) -> list[Any]:
    frames: list[Any] = []
    while not follower.has_ended:
        frames += follower.read(LIMIT_S)
    follower.close()
    return frames


@contextmanager
def absent_database() -> Iterator[None]:
    """Let the database refuse every connection."""
    name = connection.settings_dict["NAME"]
    connection.close()
    patience, connection.pool.timeout = connection.pool.timeout, 0.2
    known = connection.get_connection_params()
    elsewhere = {key: known[key] for key in ("user", "password", "host", "port") if key in known}
    with psycopg.connect(dbname="postgres", autocommit=True, **elsewhere) as operator:
        operator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            operator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            connection.pool.timeout = patience
            connection.close()
            connection.close_pool()


@pytest.mark.django_db
@pytest.mark.parametrize("after", [*range(len(TEXT) + 1), 99, 2**31 - 1])
def test_an_ended_reply_is_replayed_from_anywhere(after: int) -> None:
    reply = make_reply(make_message(make_conversation()), TEXT, token_count=3, inference_time_ms=41)
    frames = read_to_end(follow_reply(reply.id, after))
    tokens, done = objects(frames[:-1]), objects(frames)[-1]
    assert "".join(token["token"] for token in tokens) == TEXT[after:]
    assert all(offset == len(TEXT) for offset, _ in frames[:-1])
    assert done == {"done": True, "status": "complete", "message_id": str(reply.id), "token_count": 3, "inference_time_ms": 41}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "error_code", "error"),
    [
        ("failed", "upstream_timeout", "upstream_timeout"),
        ("failed", "something_old", "upstream_error"),
        ("failed", None, "upstream_error"),
        ("stopped", None, None),
        ("interrupted", None, None),
    ],
)
def test_how_it_ended(status: str, error_code: str | None, error: str | None) -> None:
    reply = make_reply(make_message(make_conversation()), "half", status=status, error_code=error_code)
    *before, done = objects(read_to_end(follow_reply(reply.id, 4)))
    assert [frame["error"] for frame in before] == ([error] if error else [])
    assert (done["done"], done["status"]) == (True, status)


@pytest.mark.django_db
def test_a_reply_that_is_deleted_is_a_reply_that_was_stopped() -> None:
    reply = make_running_reply(make_message(make_conversation()), "half")
    follower = StoredFollower(reply.id, 0)
    assert objects(follower.read(0)) == [{"token": "half"}]
    assert follower.read(0) == []
    reply.conversation.delete()
    [done] = objects(follower.read(0))
    assert (done["status"], follower.has_ended) == ("stopped", True)


@pytest.mark.django_db(transaction=True)
def test_a_running_reply_is_followed_as_it_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.005)
    reply = make_running_reply(make_message(make_conversation()), "one ")
    saw_first = threading.Event()
    pieces: list[str] = []

    def follow() -> dict[str, Any]:
        try:
            follower = follow_reply(reply.id, 0)
            while not follower.has_ended:
                for item in objects(follower.read(LIMIT_S)):
                    if "done" in item:
                        return item
                    pieces.append(item["token"])
                    saw_first.set()
            raise AssertionError("no done")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(follow)
        assert saw_first.wait(LIMIT_S)
        Message.objects.filter(id=reply.id).update(content="one two ")
        Message.objects.filter(id=reply.id).update(content="one two three", status="complete")
        assert done.result(LIMIT_S)["status"] == "complete"
    assert (pieces[0], "".join(pieces)) == ("one ", "one two three")


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_kept_between_polls() -> None:
    reply = make_running_reply(make_message(make_conversation()), "half")
    StoredFollower(reply.id, 0).read(0)
    assert connection.connection is None


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_silence() -> None:
    reply = make_running_reply(make_message(make_conversation()), "half")
    follower = StoredFollower(reply.id, 0)
    with absent_database():
        assert follower.read(0) == []
        assert follower.has_ended is False
    Message.objects.filter(id=reply.id).update(status="complete")
    assert [item.get("token") for item in objects(follower.read(0))] == ["half", None]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "DATABASE_PATIENCE_S", -1.0)
    follower = StoredFollower(make_running_reply(make_message(make_conversation()), "half").id, 4)
    with absent_database():
        frames = follower.read(0)
    assert follower.has_ended
    assert [item.get("error") or item.get("status") for item in objects(frames)] == ["not_saved", "interrupted"]
