"""`tags`: POST, PATCH and GET /api/conversations, and GET /api/tags"""

from typing import Any

import pytest

from chatapi.tests.clients import UserClient
from conversations.models import Conversation
from conversations.services import tags as counting
from conversations.surfaces.api import queries
from conversations.tags import tag_columns
from conversations.tests.factories import NOON, make_conversation, minutes

ADDRESS = "/api/conversations"
TAGS = "/api/tags"


def make_tagged(user: UserClient, title: str, *tags: str, **fields: Any) -> Conversation:
    return make_conversation(user.user_id, title=title, **tag_columns(tags), **fields)


def titles(user: UserClient, **params: Any) -> list[str]:
    return sorted(item["title"] for item in user.get(ADDRESS, params).json()["items"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["Tea", "work"], ["Tea", "work"]),
        (["  Tea ", "\u3000茶 "], ["Tea", "茶"]),
        (["Tea", "tea", "TEA"], ["Tea"]),
        (["Mu\u0308ller", "M\u00fcller"], ["M\u00fcller"]),
        (["Straße", "STRASSE"], ["Straße"]),
        (["x" * 50, "🫖" * 50], ["x" * 50, "🫖" * 50]),
        (["same"] * 30, ["same"]),
        ([], []),
    ],
)
def test_tags_are_trimmed_and_compared_without_case(user: UserClient, given: list[str], kept: list[str]) -> None:
    created = user.post(ADDRESS, {"tags": given}).json()
    assert created["tags"] == kept
    other = make_conversation(user.user_id)
    assert user.patch(f"{ADDRESS}/{other.id}", {"tags": given}).json()["tags"] == kept
    assert user.get(f"{ADDRESS}/{other.id}").json()["tags"] == kept


def test_a_patch_replaces_them_and_is_no_activity(user: UserClient) -> None:
    conversation = make_tagged(user, "x", "Tea", "Work")
    assert user.patch(f"{ADDRESS}/{conversation.id}", {"title": "y"}).json()["tags"] == ["Tea", "Work"]
    assert user.patch(f"{ADDRESS}/{conversation.id}", {"tags": ["Home"]}).json()["tags"] == ["Home"]
    assert user.patch(f"{ADDRESS}/{conversation.id}", {"tags": []}).json()["tags"] == []
    conversation.refresh_from_db()
    assert (conversation.tags, conversation.tag_keys, conversation.updated_at) == (None, None, NOON)


@pytest.mark.parametrize(
    "tags",
    [
        "tea",
        None,
        {"tea": 1},
        [""],
        [" \u200b"],
        ["x" * 51],
        ["a\u0000b"],
        ["two\nlines"],
        [1],
        [None],
        [["tea"]],
        [str(number) for number in range(21)],
        ["same"] * 1000,
    ],
    ids=lambda tags: str(tags)[:20].encode("ascii", "backslashreplace").decode(),
)
def test_bad_tags_change_nothing(user: UserClient, tags: Any) -> None:
    conversation = make_tagged(user, "before", "Tea")
    for refused in (
        user.patch(f"{ADDRESS}/{conversation.id}", {"title": "after", "tags": tags}),
        user.post(ADDRESS, {"tags": tags}),
    ):
        assert (refused.status_code, refused.json()["code"], list(refused.json()["fields"])) == (400, "invalid", ["tags"])
    kept = Conversation.objects.get()
    assert (kept.title, kept.tags) == ("before", ["Tea"])


def test_one_key_creates_one_tagged_conversation(user: UserClient) -> None:
    send = {"tags": ["Tea"], "is_archived": True}
    first, again = (user.post(ADDRESS, send, headers={"Idempotency-Key": "k"}).json() for _ in range(2))
    assert first == again
    other = user.post(ADDRESS, {"tags": ["Work"], "is_archived": True}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422
    assert Conversation.objects.count() == 1


def test_the_list_of_a_tag(user: UserClient, stranger: UserClient) -> None:
    make_tagged(user, "one", "Müller", "work")
    make_tagged(user, "two", "MÜLLER", is_favorited=True)
    make_tagged(user, "archived", "müller", is_archived=True)
    make_tagged(user, "other", "mull")
    make_tagged(stranger, "theirs", "müller")
    assert titles(user, tag="mu\u0308ller ") == ["one", "two"]
    assert titles(user, tag="Müller", favorited="true") == ["two"]
    assert titles(user, tag="Müller", archived="true") == ["archived"]
    assert titles(user, tag="Müller", q="on") == ["one"]
    assert titles(user, tag="nothing") == []
    assert titles(user, tag="{a,b}") == titles(user, tag="%") == []
    assert len(titles(user, tag="")) == 3


def test_a_request_looks_through_a_part_and_leads_on(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_EXAMINED", 10)
    for number in range(25):
        make_tagged(user, str(number), "rare" if number % 12 == 0 else "often", updated_at=NOON - minutes(number))
        make_conversation(user.user_id, updated_at=NOON - minutes(number))
    seen, cursor = [], None
    while True:
        page = user.get(ADDRESS, {"tag": "rare", **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["title"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == ["0", "12", "24"]


def test_tags_with_their_numbers(user: UserClient, stranger: UserClient) -> None:
    make_tagged(user, "one", "tea", "work")
    make_tagged(user, "two", "Tea", updated_at=NOON + minutes(1))
    make_tagged(user, "three", "TEA", "Home", is_archived=True)
    make_tagged(user, "unlisted", "tea", is_listed=False)
    make_tagged(stranger, "theirs", "tea")
    assert user.get(TAGS).json() == {
        "items": [
            {"tag": "Home", "count": 0, "archived_count": 1},
            {"tag": "Tea", "count": 2, "archived_count": 1},
            {"tag": "work", "count": 1, "archived_count": 0},
        ]
    }


def test_no_tags_yet(user: UserClient, anonymous: UserClient) -> None:
    make_conversation(user.user_id)
    assert user.get(TAGS).json() == {"items": []}
    assert anonymous.get(TAGS).status_code == 401


def test_counting_is_bounded(user: UserClient, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> None:
    monkeypatch.setattr(counting, "MOST_CONVERSATIONS", 3)
    for number in range(5):
        make_tagged(user, str(number), "tea", updated_at=NOON - minutes(number))
    user.get(TAGS)
    with django_assert_num_queries(1):
        assert user.get(TAGS).json()["items"][0]["count"] == 3
