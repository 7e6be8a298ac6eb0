"""POST /v1/chat/completions and /v1/responses with bodies longer than ordinary ones: the whole history of a long chat."""

from typing import Any

import orjson
import pytest
from django.conf import settings

from chatapi.tests.clients import UserClient
from conversations.exceptions import ConversationNotFound
from conversations.surfaces.openai.asking import Question
from conversations.surfaces.openai.chat import views as completion
from conversations.surfaces.openai.views import response

ADDRESSES = {"messages": "/v1/chat/completions", "input": "/v1/responses"}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Begin no reply: answer 404 to what would begin one, and note the question."""
    questions: list[Question] = []

    def begin(request: Any, question: Question, **options: Any) -> None:
        questions.append(question)
        raise ConversationNotFound

    monkeypatch.setattr(response, "begin_response", begin)
    monkeypatch.setattr(completion, "begin_response", begin)
    # As if all of it were stored.
    monkeypatch.setattr(response, "new_messages", lambda question: ())
    return questions


@pytest.fixture(params=ADDRESSES)
def field(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def said(count: int, content: Any) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[place % 2], "content": content} for place in range(count)]


def ask(user: UserClient, field: str, history: list[Any], **more: Any) -> Any:
    question = {"role": "user", "content": "and now?"}
    return user.post(ADDRESSES[field], {field: [*history, question], "ignored": [{}] * 9, **more})


def test_a_long_history_is_read(user: UserClient, field: str, begun: list[Question]) -> None:
    text = "function f() { return {}; }\n" * 250
    parts = [{"type": "text", "text": text}]
    history = [*said(100, text), *said(20, parts)]
    assert len(orjson.dumps(history)) > settings.ORDINARY_BODY
    assert ask(user, field, history, metadata={"topic": "tea"}, temperature=0.5).status_code == 404
    [question] = begun
    assert [message.content for message in question.earlier] == [text] * 120
    assert (question.content, question.sampling.temperature) == ("and now?", 0.5)
    assert question.terms.options
    assert question.terms.options["metadata"] == {"topic": "tea"}


def test_what_is_not_supported_is_refused_in_long_bodies_too(user: UserClient, field: str, begun: list[Question]) -> None:
    history = said(100, "x" * 7_000)
    for problem in (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": 7},
        {"role": "tool", "content": "x"},
        {},
    ):
        refused = ask(user, field, [*history, problem])
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
    refused = ask(user, field, history, n=2)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
    assert begun == []


def test_too_many_messages_are_refused(user: UserClient, field: str, begun: list[Question]) -> None:
    assert ask(user, field, said(2_000, "x" * 200)).status_code == 400
    assert ask(user, field, [{}] * 200_000).status_code == 413
    assert begun == []
