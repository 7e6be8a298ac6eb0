"""Statements whose SQL is built once."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from conversations.models import Conversation, Message
from conversations.prepared_statements import Delete, Insert, PreparedStatement, Rows, Update
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_running_reply, make_turns

pytestmark = pytest.mark.django_db


def test_rows_are_those_of_the_queryset_for_all_ids(django_assert_num_queries: Any) -> None:
    built = []

    def of_conversation(conversation_id: UUID, user_id: UUID) -> Rows:
        built.append(conversation_id)
        owned = Message.objects.filter(conversation__user_id=user_id, status="complete")
        return owned.in_conversation(conversation_id).oldest_first().values("id", "content", "created_at", "conversation_id")

    read = PreparedStatement(of_conversation)
    for conversation in (make_conversation(), make_conversation(user_id=uuid4())):
        make_turns(conversation, 2)
        with django_assert_num_queries(1):
            rows = read(conversation_id=conversation.id, user_id=conversation.user_id)
        assert len(rows) == 4
        assert rows == list(of_conversation(conversation.id, conversation.user_id))
        assert read(conversation_id=conversation.id, user_id=uuid4()) == []
    # Once by the first read, and once by each comparison.
    assert len(built) == 3


def test_what_django_converts_after_reading_is_refused() -> None:
    read = PreparedStatement(lambda conversation_id: Message.objects.in_conversation(conversation_id).values("context"))
    with pytest.raises(TypeError, match="converts"):
        read(conversation_id=uuid4())


def test_a_value_that_is_not_in_the_sql_is_refused() -> None:
    read = PreparedStatement(lambda conversation_id: Conversation.objects.owned_by(USER_ID).values("id"))
    with pytest.raises(TypeError, match="each value"):
        read(conversation_id=uuid4())


def test_the_sql_is_built_once_for_each_combination_of_what_is_left_out() -> None:
    built = []

    def titled(title: str | None, is_favorited: bool | None) -> Rows:
        built.append((title is None, is_favorited is None))
        rows = Conversation.objects.owned_by(USER_ID).order_by("title")
        if title is not None:
            rows = rows.filter(title__icontains=title)
        if is_favorited is not None:
            rows = rows.filter(is_favorited=is_favorited)
        return rows.values("title")

    read = PreparedStatement(titled)
    for title in ("100% tea", "50 teas", "Coffee"):
        make_conversation(title=title, is_favorited=title == "Coffee")
    for _ in range(2):
        assert [row["title"] for row in read(title="0% TEA", is_favorited=None)] == ["100% tea"]
        assert [row["title"] for row in read(title=None, is_favorited=True)] == ["Coffee"]
        assert [row["title"] for row in read(title="tea", is_favorited=False)] == ["100% tea", "50 teas"]
        assert [row["title"] for row in read(title="tea", is_favorited=True)] == []
    assert built == [(False, True), (True, False), (False, False)]


def test_a_page_is_a_slice(django_assert_num_queries: Any) -> None:
    read = PreparedStatement(lambda user_id: Conversation.objects.owned_by(user_id).order_by("title").values("title"))
    for number in range(5):
        make_conversation(title=str(number))
    with django_assert_num_queries(3):
        pages = [read(user_id=USER_ID, limit=2, offset=offset) for offset in (0, 3, 4)]
    assert [[row["title"] for row in page] for page in pages] == [["0", "1"], ["3", "4"], ["4"]]


def test_an_inserted_row_is_returned_with_its_defaults(django_assert_num_queries: Any) -> None:
    @PreparedStatement
    def insert(**row: Any) -> Insert:
        return Insert(Conversation.objects.with_running_reply().values("id", "title", "model_tag", "running_message_id"), row)

    for title in ("One", None):
        with django_assert_num_queries(1):
            (row,) = insert(id=uuid4(), user_id=USER_ID, title=title)
        assert row == {"id": row["id"], "title": title, "model_tag": "default", "running_message_id": None}
        assert Conversation.objects.get(id=row["id"]).title == title


def test_changed_rows_are_returned_as_they_are_afterwards(django_assert_num_queries: Any) -> None:
    @PreparedStatement
    def change(user_id: UUID, **changes: Any) -> Update:
        owned = Conversation.objects.owned_by(user_id).with_running_reply()
        return Update(owned.values("title", "is_favorited", "running_message_id"), changes)

    conversation, other = make_conversation(), make_conversation(user_id=uuid4(), title="Another user's")
    reply = make_running_reply(make_message(conversation))
    with django_assert_num_queries(1):
        rows = change(user_id=USER_ID, title="After")
    assert rows == [{"title": "After", "is_favorited": False, "running_message_id": reply.id}]
    # Other names, another statement.
    assert change(user_id=USER_ID, is_favorited=True) == [{**rows[0], "is_favorited": True}]
    other.refresh_from_db()
    assert other.title == "Another user's"


def test_deleted_rows_are_returned(django_assert_num_queries: Any) -> None:
    @PreparedStatement
    def delete(title: str) -> Delete:
        return Delete(Conversation.objects.filter(title=title).without_running_reply().values("id"))

    gone, busy, kept = (make_conversation(title=title) for title in ("gone", "gone", "kept"))
    make_running_reply(make_message(busy))
    with django_assert_num_queries(1):
        assert delete(title="gone") == [{"id": gone.id}]
    assert delete(title="gone") == []
    assert set(Conversation.objects.values_list("id", flat=True)) == {busy.id, kept.id}
