"""Reads whose SQL is built once."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from conversations.models import Conversation, Message
from conversations.prepared_reads import PreparedRead, Rows
from conversations.tests.factories import USER_ID, make_conversation, make_turns

pytestmark = pytest.mark.django_db


def test_rows_are_those_of_the_queryset_for_all_ids(django_assert_num_queries: Any) -> None:
    built = []

    def of_conversation(conversation_id: UUID, user_id: UUID) -> Rows:
        built.append(conversation_id)
        owned = Message.objects.filter(conversation__user_id=user_id, status="complete")
        return owned.in_conversation(conversation_id).oldest_first().values("id", "content", "created_at", "conversation_id")

    read = PreparedRead(of_conversation)
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
    read = PreparedRead(lambda conversation_id: Message.objects.in_conversation(conversation_id).values("context"))
    with pytest.raises(TypeError, match="converts"):
        read(conversation_id=uuid4())


def test_an_id_that_is_not_in_the_sql_is_refused() -> None:
    read = PreparedRead(lambda conversation_id: Conversation.objects.owned_by(USER_ID).values("id"))
    with pytest.raises(TypeError, match="each id"):
        read(conversation_id=uuid4())
