"""Creating a conversation once for each key."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from conversations.exceptions import IdempotencyMismatch
from conversations.models import Conversation
from conversations.models.keys import CreationKey
from conversations.services.conversations import create_conversation, delete_conversation
from conversations.tests.concurrency import with_own_connections
from conversations.tests.factories import USER_ID


def create(key: str = "k", user_id: UUID = USER_ID, **fields: Any) -> Any:
    return create_conversation(("id", "title"), user_id=user_id, idempotency_key=key, **fields).row["id"]


@pytest.mark.django_db
def test_a_repeat_gets_the_same_conversation() -> None:
    assert create(title="mine") == create(title="mine")
    assert create(title="mine", user_id=uuid4()) != create(title="mine")
    with pytest.raises(IdempotencyMismatch):
        create(title="other")
    assert Conversation.objects.count() == 2


@pytest.mark.django_db
def test_a_key_is_forgotten_after_a_day_or_with_its_conversation() -> None:
    made = create()
    delete_conversation(conversation_id=made, user_id=USER_ID)
    again = create()
    assert again != made
    CreationKey.objects.update(created_at=datetime.now(UTC) - timedelta(hours=25))
    assert create(title="another") != again
    assert CreationKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_create_one() -> None:
    made = with_own_connections(lambda _: create(), 6)
    assert len(set(made)) == 1
    assert Conversation.objects.count() == 1
