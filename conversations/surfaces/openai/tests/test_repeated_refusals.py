"""A request over its user's rate, which the `openai` packages repeat: the repetition gets no earlier answer."""

from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from chatapi.environment import Rate
from chatapi.tests.clients import UserClient
from conversations.exceptions import ConversationNotFound
from conversations.models import Message
from conversations.surfaces.openai import asking
from conversations.surfaces.openai.repeats import Same, find_repeated_turn
from conversations.tests.factories import make_conversation, make_message, make_reply

pytestmark = pytest.mark.django_db
RESPONSE: dict[str, Any] = {"input": "continue"}
COMPLETION: dict[str, Any] = {"messages": [{"role": "user", "content": "continue"}], "model": "tiny"}


class Begun:
    """What was asked: the fingerprint, and the turn that a repetition would follow."""

    def __init__(self) -> None:
        self.fingerprint = ""
        self.turn: Any = None


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """Begin no reply: answer 404."""
    begun = Begun()

    def begin(question: Any, same: Same, *, key: str, is_repeated: bool) -> None:
        begun.fingerprint = same.fingerprint
        begun.turn = find_repeated_turn(same) if is_repeated else None
        raise ConversationNotFound

    monkeypatch.setattr(asking, "_begin", begin)
    return begun


@pytest.mark.parametrize(("path", "body"), [("/v1/responses", RESPONSE), ("/v1/chat/completions", COMPLETION)])
def test_its_repetition_asks_anew(user: UserClient, settings: Settings, begun: Begun, path: str, body: dict[str, Any]) -> None:
    def post(count: int, **more: Any) -> int:
        return int(user.post(path, {**body, **more}, headers={"x-stainless-retry-count": str(count)}).status_code)

    settings.THROTTLE_SEND = None
    assert post(0) == 404
    # An earlier question in the same words, whose answer did not reach its client.
    asked = make_message(make_conversation(user.user_id, updated_at=timezone.now()), "continue", created_at=timezone.now())
    reply = make_reply(asked)

    def forget_delivery() -> None:
        Message.objects.filter(id=asked.id).update(request_fingerprint=begun.fingerprint)

    forget_delivery()
    assert post(1) == 404
    assert begun.turn.reply_id == reply.id
    forget_delivery()
    settings.THROTTLE_SEND = Rate(1, 3600)
    assert [post(0, temperature=1), post(0)] == [404, 429]
    settings.THROTTLE_SEND = None
    assert post(1) == 404
    assert begun.turn is None
