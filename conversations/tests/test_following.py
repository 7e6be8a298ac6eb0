"""Following a reply from its row."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

from chatapi.database.connections import own_cursor
from conversations.models import Message
from conversations.services.replies import follow, poll
from conversations.services.replies.follow import StoredFollower, follow_reply
from conversations.services.replies.poll import ReplyPoller
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply
from inference_proxy.replies.frames import Cursor, cursor_of
from tests.support.waiting import LIMIT_S, wait_until

TEXT = "Hé 🎈👩‍💻 e\u0301nd"


def objects(frames: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(payload) for _, payload in frames]


def text_of(frames: list[Any]) -> str:
    return "".join(item.get("token", "") for item in objects(frames))


def read_to_end(follower: Any) -> list[Any]:
    frames: list[Any] = []
    while not follower.has_ended:
        frames += follower.read(LIMIT_S)
    follower.close()
    return frames


@pytest.fixture(autouse=True)
def quick_poller(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Poll without long pauses, over connections that tests can do without, and see that the poller ends at last."""
    monkeypatch.setattr(poll, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(follow.reply_poller, "_cursor", own_cursor)
    yield
    wait_until(lambda: follow.reply_poller._thread is None, "the poller has ended")


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
    reply = make_reply(make_message(make_conversation()), TEXT, token_count=3, inference_time_ms=41, finish_reason="stop")
    frames = read_to_end(follow_reply(reply.id, Cursor(after)))
    tokens, done = objects(frames[:-1]), objects(frames)[-1]
    assert "".join(token["token"] for token in tokens) == TEXT[after:]
    assert all(offset == len(TEXT) for offset, _ in frames[:-1])
    assert done == {
        "done": True,
        "status": "complete",
        "message_id": str(reply.id),
        "token_count": 3,
        "inference_time_ms": 41,
        "finish_reason": "stop",
    }


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
    *before, done = objects(read_to_end(follow_reply(reply.id, Cursor(4))))
    assert [frame["error"] for frame in before] == ([error] if error else [])
    assert (done["done"], done["status"]) == (True, status)


@pytest.mark.django_db(transaction=True)
def test_a_reply_that_is_deleted_is_a_reply_that_was_stopped() -> None:
    reply = make_running_reply(make_message(make_conversation()), "half")
    follower, late = StoredFollower(reply.id), StoredFollower(reply.id)
    assert objects(follower.read(0)) == [{"token": "half"}]
    assert follower.read(0) == []
    reply.conversation.delete()
    for one in (follower, late):
        [done] = objects(read_to_end(one))
        assert done["status"] == "stopped"


@pytest.mark.django_db(transaction=True)
def test_a_running_reply_is_followed_as_it_is_saved() -> None:
    reply = make_running_reply(make_message(make_conversation()), "one ")
    saw_first = threading.Event()
    pieces: list[str] = []

    def follow() -> dict[str, Any]:
        follower = follow_reply(reply.id)
        try:
            while not follower.has_ended:
                for item in objects(follower.read(LIMIT_S)):
                    if "done" in item:
                        return item
                    pieces.append(item["token"])
                    saw_first.set()
            raise AssertionError("no done")
        finally:
            follower.close()
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
    follower = StoredFollower(reply.id)
    follower.read(0)
    assert connection.connection is None
    follower.close()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_silence() -> None:
    reply = make_running_reply(make_message(make_conversation()), "half")
    follower = StoredFollower(reply.id)
    with absent_database():
        assert follower.read(0) == []
        assert follower.has_ended is False
    Message.objects.filter(id=reply.id).update(status="complete")
    assert [item.get("token") for item in objects(follower.read(0))] == ["half", None]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_while_it_is_polled_is_silence() -> None:
    reply = make_running_reply(make_message(make_conversation()), "half")
    follower = StoredFollower(reply.id)
    follower.read(0)
    with absent_database():
        wait_until(lambda: follow.reply_poller._away_since, "the poller has noticed")
        assert (follower.read(0), follower.has_ended) == ([], False)
    Message.objects.filter(id=reply.id).update(content="half and half", status="complete")
    assert [item.get("token") for item in objects(read_to_end(follower))] == [" and half", None]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "DATABASE_PATIENCE_S", -1.0)
    reply = make_running_reply(make_message(make_conversation()), "half")
    polled, late = StoredFollower(reply.id, Cursor(4)), StoredFollower(reply.id, Cursor(4))
    assert polled.read(0) == []
    with absent_database():
        for follower in (polled, late):
            frames = read_to_end(follower)
            assert [item.get("error") or item.get("status") for item in objects(frames)] == ["not_saved", "interrupted"]
    # A client that comes back later reads on.
    back = StoredFollower(reply.id)
    assert objects(back.read(0)) == [{"token": "half"}]
    back.close()


@pytest.mark.django_db(transaction=True)
def test_followers_share_one_statement_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    lent: list[Any] = []
    rounds: list[int] = []
    poll = ReplyPoller._poll

    @contextmanager
    def counted_cursor() -> Iterator[Any]:
        with own_cursor() as cursor:
            lent.append(cursor)
            yield cursor

    def counted_poll(poller: ReplyPoller, replies: dict[Any, Any]) -> None:
        rounds.append(len(replies))
        poll(poller, replies)

    monkeypatch.setattr(ReplyPoller, "_poll", counted_poll)
    monkeypatch.setattr(follow, "reply_poller", ReplyPoller(must_end=lambda: False, cursor=counted_cursor))
    replies = [make_running_reply(make_message(make_conversation()), "one") for _ in range(3)]
    followers = [StoredFollower(reply.id, Cursor(after)) for reply in replies for after in range(4)]
    texts = [text_of(follower.read(0)) for follower in followers]
    for more in ("one two", "one two three"):
        Message.objects.filter(id__in=[reply.id for reply in replies]).update(content=more)
        for number, follower in enumerate(followers):
            while len(texts[number]) < len(more) - number % 4:
                texts[number] += text_of(follower.read(LIMIT_S))
    assert texts == ["one two three"[number % 4 :] for number in range(len(followers))]
    for follower in followers:
        follower.close()
    wait_until(lambda: follow.reply_poller._thread is None, "the poller has ended")
    assert max(rounds) == len(replies)
    assert len(lent) == len(rounds)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pace", [1, 2, 5])
def test_a_follower_that_is_far_behind_misses_nothing(monkeypatch: pytest.MonkeyPatch, pace: int) -> None:
    monkeypatch.setattr(poll, "PIECE_CHARACTERS", 4)
    reply = make_running_reply(make_message(make_conversation()), TEXT[:3])
    followers = [StoredFollower(reply.id, Cursor(after)) for after in range(len(TEXT) + 1)]
    texts = [text_of(follower.read(0)) for follower in followers]
    shared = follow.reply_poller._replies[reply.id].text
    for length in range(4, len(TEXT) + 1):
        Message.objects.filter(id=reply.id).update(content=TEXT[:length])
        wait_until(lambda: shared.length == length, "the poller has read it")  # noqa: B023
        assert len(shared.window[1]) <= 4
        for number, follower in enumerate(followers):
            # Each reads at a pace of its own.
            if (length + number) % pace == 0:
                texts[number] += text_of(follower.read(0))
    Message.objects.filter(id=reply.id).update(status="complete")
    for number, follower in enumerate(followers):
        frames = read_to_end(follower)
        assert texts[number] + text_of(frames) == TEXT[number:]
        assert objects(frames)[-1]["status"] == "complete"


@pytest.mark.django_db(transaction=True)
def test_a_long_reply_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "PIECE_CHARACTERS", 4)
    reply = make_reply(make_message(make_conversation()), TEXT)
    frames = read_to_end(StoredFollower(reply.id, Cursor(2)))
    assert [event_id for event_id, _ in frames] == [6, 10, len(TEXT), "done"]
    assert text_of(frames) == TEXT[2:]


@pytest.mark.django_db(transaction=True)
def test_a_client_that_reads_slowly_holds_a_part_of_a_long_reply() -> None:
    follower = StoredFollower(make_reply(make_message(make_conversation()), "茶" * 200_000).id)
    sizes: list[int] = []
    while not follower.has_ended:
        # What one read returns stays in memory until the client has taken it.
        sizes.append(sum(len(payload) for _, payload in follower.read(LIMIT_S)))
    follower.close()
    assert (sum(sizes) > 3 * 200_000, max(sizes) <= 256 * 1024) == (True, True)


@pytest.mark.django_db(transaction=True)
def test_the_last_follower_that_leaves_ends_the_poller() -> None:
    reply = make_running_reply(make_message(make_conversation()), "half")
    first, second = StoredFollower(reply.id), StoredFollower(reply.id, Cursor(4))
    first.read(0)
    second.read(0)
    first.close()
    assert list(follow.reply_poller._replies) == [reply.id]
    second.close()
    second.close()
    assert not follow.reply_poller._replies
    wait_until(lambda: follow.reply_poller._thread is None, "the poller has ended")
    # It begins again with the next follower.
    third = StoredFollower(reply.id)
    third.read(0)
    Message.objects.filter(id=reply.id).update(status="stopped")
    assert objects(read_to_end(third))[-1]["status"] == "stopped"


THOUGHT = "Let me 🎈 think"


def both_of(frames: list[Any]) -> tuple[str, str]:
    return "".join(item.get("reasoning", "") for item in objects(frames)), text_of(frames)


@pytest.mark.django_db
@pytest.mark.parametrize("piece", [4, 1000])
@pytest.mark.parametrize("text", range(len(TEXT) + 2))
def test_both_channels_of_an_ended_reply_are_replayed_from_anywhere(
    monkeypatch: pytest.MonkeyPatch, text: int, piece: int
) -> None:
    monkeypatch.setattr(poll, "PIECE_CHARACTERS", piece)
    reply = make_reply(make_message(make_conversation()), TEXT, reasoning=THOUGHT)
    for reasoning in range(len(THOUGHT) + 2):
        frames = read_to_end(StoredFollower(reply.id, Cursor(text, reasoning)))
        assert both_of(frames) == (THOUGHT[reasoning:], TEXT[text:])
        assert objects(frames)[-1]["done"] is True
        cursors = [cursor for event_id, _ in frames if (cursor := cursor_of(event_id)) is not None]
        assert all(later.covers(earlier) for earlier, later in pairwise(cursors))
        # The reasoning is whole before the text begins.
        kinds = ["reasoning" in item for item in objects(frames)]
        assert kinds == sorted(kinds, reverse=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("piece", [4, 1000])
def test_both_channels_of_a_running_reply_are_followed_as_they_are_saved(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(poll, "PIECE_CHARACTERS", piece)
    reply = make_running_reply(make_message(make_conversation()))
    places = [Cursor(text, reasoning) for text in (0, 3, len(TEXT)) for reasoning in (0, 2, len(THOUGHT))]
    followers = [StoredFollower(reply.id, place) for place in places]
    frames: list[list[Any]] = [[] for _ in followers]
    for text, reasoning in [(0, 1), (0, 9), (2, 9), (5, 9), (5, len(THOUGHT)), (len(TEXT), len(THOUGHT))]:
        Message.objects.filter(id=reply.id).update(content=TEXT[:text], reasoning=THOUGHT[:reasoning])
        for number, follower in enumerate(followers):
            expected = (THOUGHT[places[number].reasoning : reasoning], TEXT[places[number].text : text])
            while both_of(frames[number]) != expected:
                new = follower.read(LIMIT_S)
                assert new, (places[number], both_of(frames[number]), expected)
                frames[number] += new
    Message.objects.filter(id=reply.id).update(status="complete", finish_reason="stop")
    for number, follower in enumerate(followers):
        frames[number] += read_to_end(follower)
        done = objects(frames[number])[-1]
        assert (done["done"], done["finish_reason"]) == (True, "stop")
        assert both_of(frames[number]) == (THOUGHT[places[number].reasoning :], TEXT[places[number].text :])
        last = [cursor for event_id, _ in frames[number] if (cursor := cursor_of(event_id)) is not None]
        assert not last or last[-1] == Cursor(len(TEXT), len(THOUGHT))
