"""POST /v1/conversations"""

from typing import Any

import pytest
from pytest_django.fixtures import Settings

from chatapi.environment import Rate
from chatapi.tests.clients import UserClient
from conversations.models import Message

ADDRESS = "/v1/conversations"
pytestmark = pytest.mark.django_db


def items(count: int, content: str = "hi") -> dict[str, Any]:
    return {"items": [{"role": "user", "content": content}] * count}


def test_twenty_items_are_the_most(user: UserClient) -> None:
    assert user.post(ADDRESS, items(20)).status_code == 200
    assert user.post(ADDRESS, items(21)).status_code == 400
    assert Message.objects.count() == 20


def test_an_item_is_as_long_as_a_message_may_be(user: UserClient, settings: Settings) -> None:
    settings.MAX_MESSAGE_CHARACTERS = 10
    assert user.post(ADDRESS, items(1, "x" * 10)).status_code == 200
    assert user.post(ADDRESS, items(1, "x" * 11)).status_code == 400


def test_each_item_counts_as_a_send(user: UserClient, settings: Settings) -> None:
    settings.THROTTLE_SEND = Rate(25, 3600)
    assert user.post(ADDRESS, items(20)).status_code == 200
    refused = user.post(ADDRESS, items(6))
    assert (refused.status_code, refused["Retry-After"]) == (429, "144")
    # The refused request counts for nothing.
    assert user.post(ADDRESS, items(5)).status_code == 200
    assert user.post(ADDRESS, {}).status_code == 429
    assert Message.objects.count() == 25


def test_a_request_with_more_items_than_the_whole_limit_takes_all_of_it(user: UserClient, settings: Settings) -> None:
    settings.THROTTLE_SEND = Rate(3, 3600)
    assert user.post(ADDRESS, items(20)).status_code == 200
    assert user.post(ADDRESS, {}).status_code == 429


def test_it_counts_as_a_send(user: UserClient, settings: Settings) -> None:
    settings.THROTTLE_SEND = Rate(2, 60)
    assert [user.post(ADDRESS, {}).status_code for _ in range(3)] == [200, 200, 429]
    assert user.get("/api/conversations").status_code == 200
