"""GET /api/conversations"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from chatapi.tests.clients import UserClient
from conversations.models import Conversation
from conversations.surfaces.api import queries
from conversations.tests.factories import (
    NOON,
    make_conversation,
    make_message,
    make_reply,
    make_running_reply,
    minutes,
)

ADDRESS = "/api/conversations"


def make_list(user: UserClient, count: int) -> list[str]:
    """Create conversations, and return their ids, newest activity first."""
    made = [make_conversation(user.user_id, title=f"number {at}", updated_at=NOON - minutes(at)) for at in range(count)]
    return [str(conversation.id) for conversation in made]


def ids(listed: dict[str, Any]) -> list[str]:
    return [item["id"] for item in listed["items"]]


def test_nothing_yet(user: UserClient) -> None:
    assert user.get(ADDRESS).json() == {"items": [], "grouped": {}, "limit": 50, "offset": 0, "next": None}


def test_a_conversation_looks_like_this(user: UserClient) -> None:
    conversation = make_conversation(user.user_id, title="A title", model_tag="d32", is_favorited=True)
    listed = user.get(ADDRESS).json()
    item = {
        "id": str(conversation.id),
        "user_id": str(user.user_id),
        "title": "A title",
        "model_tag": "d32",
        "is_favorited": True,
        "is_archived": False,
        "tags": [],
        "assistant_id": None,
        "name": None,
        "created_at": "2026-11-20T12:00:00Z",
        "updated_at": "2026-11-20T12:00:00Z",
        "deleted_at": None,
        "forked_from": None,
        "running_message_id": None,
    }
    assert listed["items"] == [item]
    assert listed["grouped"] == {"2026-11-20": [item]}


def test_a_conversation_names_its_running_reply(user: UserClient) -> None:
    running, ended = make_conversation(user.user_id, title="running"), make_conversation(user.user_id, title="ended")
    reply = make_running_reply(make_message(running))
    make_reply(make_message(ended))
    listed = user.get(ADDRESS).json()
    assert {item["title"]: item["running_message_id"] for item in listed["items"]} == {"running": str(reply.id), "ended": None}
    grouped = [item["running_message_id"] for items in listed["grouped"].values() for item in items]
    assert grouped.count(str(reply.id)) == 1


def test_running_replies_are_looked_up_in_the_index_of_running_replies(user: UserClient) -> None:
    make_conversation(user.user_id)
    # So that the planner does not prefer to read the few rows of a test.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    plan = Conversation.objects.owned_by(user.user_id).with_running_reply().values("running_message_id").explain()
    assert "uq_messages_running" in plan


def test_newest_activity_first(user: UserClient) -> None:
    made = make_list(user, 5)
    assert ids(user.get(ADDRESS).json()) == made


def test_only_one_s_own(user: UserClient, stranger: UserClient) -> None:
    make_conversation(stranger.user_id)
    make_conversation(None)
    assert user.get(ADDRESS).json()["items"] == []


def test_temporary_chats_are_not_listed(user: UserClient) -> None:
    make_conversation(user.user_id, expires_at=NOON)
    assert user.get(ADDRESS).json()["items"] == []


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        (None, {"2026-11-21": [0], "2026-11-20": [1, 2]}),
        ("UTC", {"2026-11-21": [0], "2026-11-20": [1, 2]}),
        ("Asia/Kolkata", {"2026-11-21": [0, 1], "2026-11-20": [2]}),
        ("America/New_York", {"2026-11-20": [0, 1, 2]}),
        ("Pacific/Kiritimati", {"2026-11-21": [0, 1], "2026-11-20": [2]}),
    ],
)
def test_grouped_by_day_of_the_last_turn(user: UserClient, zone: str | None, days: dict[str, list[int]]) -> None:
    times = [
        datetime(2026, 11, 21, 0, 30, tzinfo=UTC),
        datetime(2026, 11, 20, 18, 45, tzinfo=UTC),
        datetime(2026, 11, 20, 9, tzinfo=UTC),
    ]
    made = [str(make_conversation(user.user_id, updated_at=time).id) for time in times]
    grouped = user.get(ADDRESS, {"tz": zone} if zone else {}).json()["grouped"]
    assert {day: [item["id"] for item in items] for day, items in grouped.items()} == {
        day: [made[number] for number in numbers] for day, numbers in days.items()
    }
    assert list(grouped) == list(days)


def test_a_day_that_is_longer_than_others(user: UserClient) -> None:
    """On 2026-10-25 Berlin's clocks go back: 23:30 there is 22:30 UTC, not 21:30."""
    make_conversation(user.user_id, updated_at=datetime(2026, 10, 25, 22, 30, tzinfo=UTC))
    assert list(user.get(f"{ADDRESS}?tz=Europe/Berlin").json()["grouped"]) == ["2026-10-25"]


@pytest.mark.parametrize("count", [1, 4, 5, 6, 11])
def test_cursors_lead_through_everything_once(user: UserClient, count: int) -> None:
    made = make_list(user, count)
    seen: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        page = user.get(ADDRESS, {"limit": 5, **({"cursor": cursor} if cursor else {})}).json()
        seen += ids(page)
        cursor = page["next"]
        pages += 1
    assert seen == made
    assert pages == -(-count // 5)


def test_cursors_among_equal_and_missing_times(user: UserClient) -> None:
    for _ in range(4):
        make_conversation(user.user_id)
    Conversation.objects.filter(id__in=[make_conversation(user.user_id).id for _ in range(4)]).update(updated_at=None)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = user.get(ADDRESS, {"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        seen += ids(page)
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 8


def test_a_page_does_not_shift_when_something_new_comes(user: UserClient) -> None:
    made = make_list(user, 4)
    first = user.get(f"{ADDRESS}?limit=2").json()
    make_conversation(user.user_id, updated_at=NOON + timedelta(hours=1))
    assert ids(user.get(ADDRESS, {"limit": 2, "cursor": first["next"]}).json()) == made[2:]


@pytest.mark.parametrize(("offset", "limit"), [(0, 2), (1, 2), (3, 50), (5, 1), (10_000, 200)])
def test_offsets(user: UserClient, offset: int, limit: int) -> None:
    made = make_list(user, 5)
    page = user.get(f"{ADDRESS}?offset={offset}&limit={limit}").json()
    assert ids(page) == made[offset : offset + limit]
    assert (page["offset"], page["limit"]) == (offset, limit)


def test_favourites(user: UserClient) -> None:
    favourite = make_conversation(user.user_id, is_favorited=True)
    other = make_conversation(user.user_id)
    assert ids(user.get(f"{ADDRESS}?favorited=true").json()) == [str(favourite.id)]
    assert ids(user.get(f"{ADDRESS}?favorited=false").json()) == [str(other.id)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("samosa", 1), ("SAMOSA", 1), ("mos", 1), ("100%", 1), ("%", 1), ("_", 0), ("\\", 0), ("", 2), ("x" * 200, 0)],
)
def test_titles_that_contain_something(user: UserClient, wanted: str, found: int) -> None:
    make_conversation(user.user_id, title="Samosa recipes, 100% good")
    make_conversation(user.user_id, title="Else")
    assert len(user.get(ADDRESS, {"q": wanted}).json()["items"]) == found


@pytest.mark.parametrize("wanted", ["müller", "Mu\u0308ller", "MÜLLER", "ｍüller", "pho\u031b\u0309"])
def test_titles_in_another_unicode_form(user: UserClient, wanted: str) -> None:
    make_conversation(user.user_id, title="Mu\u0308ller isst phở")
    assert len(user.get(ADDRESS, {"q": wanted}).json()["items"]) == 1


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_a_list_by_title_looks_through_a_bounded_number(
    user: UserClient, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any, limit: int
) -> None:
    monkeypatch.setattr(queries, "MOST_EXAMINED", 3)
    # Three have the same time, where the third window of them would end.
    times = [NOON - timedelta(hours=hours) for hours in (0, 1, 2, 2, 2, 3, 4, 5, 6)]
    titles = ["tea", "soup", "tea", "soup", "tea", "soup", "soup", "soup", "tea"]
    made = [make_conversation(user.user_id, title=title, updated_at=at) for title, at in zip(titles, times, strict=True)]
    wanted = sorted((row for row in made if row.title == "tea"), key=lambda row: (row.updated_at, row.id), reverse=True)
    user.get(ADDRESS)  # notes the user
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        with django_assert_max_num_queries(2):
            page = user.get(ADDRESS, {"q": "TEA", "limit": limit, **cursor}).json()
        found += ids(page)
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        assert len(ids(page)) <= limit
    assert found == [str(row.id) for row in wanted]


def test_a_title_that_is_far_away_is_on_a_later_page(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_EXAMINED", 2)
    made = make_list(user, 5)
    Conversation.objects.filter(id=made[4]).update(title="tea")
    first = user.get(ADDRESS, {"q": "tea"}).json()
    second = user.get(ADDRESS, {"q": "tea", "cursor": first["next"]}).json()
    third = user.get(ADDRESS, {"q": "tea", "cursor": second["next"]}).json()
    assert [ids(first), ids(second), ids(third)] == [[], [], [made[4]]]
    assert third["next"] is None


def test_rows_of_the_predecessor_lack_nothing(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_message(conversation, created_at=NOON)
    Conversation.objects.filter(id=conversation.id).update(title=None, model_tag=None, created_at=None, updated_at=None)
    [item] = user.get(ADDRESS).json()["items"]
    assert (item["title"], item["model_tag"]) == ("New conversation", "")
    assert (item["created_at"], item["updated_at"]) == ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z")


@pytest.mark.parametrize("count", [1, 60])
def test_one_query_however_many(user: UserClient, django_assert_num_queries: Any, count: int) -> None:
    make_list(user, count)
    user.get(ADDRESS)
    with django_assert_num_queries(1):
        assert len(user.get(ADDRESS).json()["items"]) == min(count, 50)


@pytest.mark.parametrize(
    ("conditions", "index"), [({}, "idx_conversations_listed"), ({"is_favorited": True}, "idx_conversations_own_favorite")]
)
def test_the_page_is_read_from_the_index(user: UserClient, conditions: dict[str, bool], index: str) -> None:
    make_list(user, 1)
    # With statistics of a nearly empty table, any index would do for the planner.
    others = [Conversation(user_id=uuid.uuid4(), updated_at=NOON, is_favorited=number % 5 == 0) for number in range(2000)]
    Conversation.objects.bulk_create([*others, *(Conversation(user_id=user.user_id, updated_at=NOON) for _ in range(500))])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE conversations")
        cursor.execute("SET LOCAL enable_seqscan = off")
    rows = Conversation.objects.owned_by(user.user_id).listed().filter(**conditions).newest_activity_first()[:50]
    assert index in rows.explain()
