"""POST /v1/responses with a history that the client brings along: as many messages as one request may store."""

from typing import Any

import pytest
from pytest_django.fixtures import Settings

from chatapi.environment import Rate
from chatapi.tests.clients import UserClient
from conversations.exceptions import ConversationNotFound
from conversations.surfaces.openai.asking import Question
from conversations.surfaces.openai.views import response

ADDRESS = "/v1/responses"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Begin no reply: answer 404 to what would begin one, and note how many messages it brought."""
    counts: list[int] = []

    def begin(request: Any, question: Question, **options: Any) -> None:
        counts.append(len(question.earlier) + 1)
        raise ConversationNotFound

    monkeypatch.setattr(response, "begin_response", begin)
    return counts


def ask(user: UserClient, count: int, content: str = "hi") -> Any:
    earlier = [{"role": "assistant", "content": content}] * (count - 1)
    return user.post(ADDRESS, {"input": [*earlier, {"role": "user", "content": "and now?"}], "model": "tiny"})


def test_twenty_messages_are_the_most(user: UserClient, begun: list[int]) -> None:
    refused = ask(user, 21)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
    assert ask(user, 20).status_code == 404
    assert begun == [20]


def test_each_is_as_long_as_a_message_may_be(user: UserClient, settings: Settings) -> None:
    settings.MAX_MESSAGE_CHARACTERS = 10
    assert ask(user, 2, "x" * 11).status_code == 400
    assert ask(user, 2, "x" * 10).status_code == 404


def test_each_message_counts_as_a_send(user: UserClient, settings: Settings, begun: list[int]) -> None:
    settings.THROTTLE_SEND = Rate(25, 3600)
    assert [ask(user, count).status_code for count in (20, 6, 5)] == [404, 429, 404]
    assert user.post(ADDRESS, {"input": "hi"}).status_code == 429
    assert begun == [20, 5]
    assert user.get("/api/conversations").status_code == 200
