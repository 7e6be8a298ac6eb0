"""DELETE /api/conversations/{id}"""

from typing import Any

import pytest

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, Message
from conversations.tests.factories import make_conversation, make_message, make_running_reply, make_turns

ADDRESS = "/api/conversations"


def test_it_goes_with_its_messages(user: UserClient) -> None:
    conversation, other = make_conversation(user.user_id), make_conversation(user.user_id)
    make_turns(conversation, 2)
    kept = make_turns(other, 1)
    response = user.delete(f"{ADDRESS}/{conversation.id}")
    assert (response.status_code, response.content) == (204, b"")
    assert list(Conversation.objects.values_list("id", flat=True)) == [other.id]
    assert set(Message.objects.values_list("id", flat=True)) == {message.id for message in kept}


def test_a_second_time_it_is_not_there(user: UserClient) -> None:
    path = f"{ADDRESS}/{make_conversation(user.user_id).id}"
    assert [user.delete(path).status_code for _ in range(2)] == [204, 404]


def test_another_user_s_stays(user: UserClient, stranger: UserClient) -> None:
    conversation = make_conversation(stranger.user_id)
    make_turns(conversation, 1)
    assert user.delete(f"{ADDRESS}/{conversation.id}").status_code == 404
    assert Message.objects.count() == 2


def test_a_reply_that_lost_its_worker_is_no_obstacle(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_running_reply(make_message(conversation), heartbeat_age_s=60)
    assert user.delete(f"{ADDRESS}/{conversation.id}").status_code == 204
    assert not Message.objects.exists()


@pytest.mark.parametrize("turns", [1, 30])
def test_one_query_however_many_messages(user: UserClient, django_assert_num_queries: Any, turns: int) -> None:
    conversation = make_conversation(user.user_id)
    make_turns(conversation, turns)
    user.get(ADDRESS)
    with django_assert_num_queries(1):
        user.delete(f"{ADDRESS}/{conversation.id}")
