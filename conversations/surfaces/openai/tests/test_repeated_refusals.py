"""A request that is refused before its view, which the `openai` packages repeat: the repetition gets no earlier answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from chatapi.auth.authentication import AuthUnavailable, BearerAuthentication
from chatapi.cache.rates import Count
from chatapi.environment import Rate
from chatapi.incoming.admission import LIMIT as ADMISSION
from chatapi.incoming.request_bodies import DECLARED_LENGTH, LONG_BODIES
from chatapi.service_error import ERROR_KEY
from chatapi.tests.clients import UserClient
from conversations.exceptions import ConversationNotFound
from conversations.models import Message
from conversations.surfaces.openai import asking
from conversations.surfaces.openai.repeats import Same, find_repeated_turn
from conversations.surfaces.throttles import SendThrottle
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


SURFACES = [("/v1/responses", RESPONSE), ("/v1/chat/completions", COMPLETION)]


class Asker:
    """Post one body, as the first of the equal requests (0) or as a repetition."""

    def __init__(self, user: UserClient, path: str, body: dict[str, Any], begun: Begun) -> None:
        self.user, self.path, self.body, self.begun = user, path, body, begun

    def post(self, count: int, **more: Any) -> int:
        body, environ = {**self.body, **more.pop("body", {})}, more
        headers = {"x-stainless-retry-count": str(count)}
        self.begun.turn = None
        return int(self.user.post(self.path, body, headers=headers, **environ).status_code)

    def store_turn(self) -> Any:
        """Store a turn of the same words whose answer did not reach its client. Return its reply's id."""
        asked = make_message(
            make_conversation(self.user.user_id, updated_at=timezone.now()), "continue", created_at=timezone.now()
        )
        reply = make_reply(asked)
        self.forget_delivery(asked.id)
        return reply.id

    def forget_delivery(self, asked_id: Any) -> None:
        Message.objects.filter(id=asked_id).update(request_fingerprint=self.begun.fingerprint)

    def followed(self) -> Any:
        return self.begun.turn and self.begun.turn.reply_id


@pytest.fixture(params=SURFACES, ids=["responses", "completions"])
def asker(request: pytest.FixtureRequest, user: UserClient, begun: Begun, settings: Settings) -> Asker:
    settings.THROTTLE_SEND = None
    asker = Asker(user, *request.param, begun)
    # The fingerprint is known from now on.
    assert asker.post(0) == 404
    return asker


def refuse_by_rate(asker: Asker, count: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    with monkeypatch.context() as patched:
        settings.THROTTLE_SEND = Rate(1, 3600)
        patched.setattr(SendThrottle, "count", lambda *_: Count(Rate(1, 3600), wait_us=1, all_free_us=1))
        status = asker.post(count)
    settings.THROTTLE_SEND = None
    return status


def refuse_by_overload(asker: Asker, count: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    return asker.post(count, **{ERROR_KEY: ADMISSION.refuse()})


def refuse_by_body(asker: Asker, count: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """As `WholeBodies` does, which leaves no body."""
    length = str(len(json.dumps(asker.body)))
    lost = {ERROR_KEY: LONG_BODIES.refuse(), DECLARED_LENGTH: length, "CONTENT_LENGTH": "0"}
    return asker.post(count, **lost)


def refuse_by_auth(asker: Asker, count: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(*_: object) -> None:
        raise AuthUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(BearerAuthentication, "authenticate", fail)
        return asker.post(count)


REFUSALS = pytest.mark.parametrize("refuse", [refuse_by_rate, refuse_by_overload, refuse_by_body, refuse_by_auth])


@REFUSALS
def test_its_repetition_asks_anew(
    asker: Asker, refuse: Callable[..., int], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_id = asker.store_turn()
    assert asker.post(1) == 404
    assert asker.followed() == reply_id
    assert refuse(asker, 0, settings, monkeypatch) in (429, 503)
    assert asker.post(1) == 404
    assert asker.followed() is None


@REFUSALS
def test_what_its_repetition_has_asked_is_followed(
    asker: Asker, refuse: Callable[..., int], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request is refused, and the connection of the second breaks."""
    assert refuse(asker, 0, settings, monkeypatch) in (429, 503)
    assert asker.post(1) == 404
    reply_id = asker.store_turn()
    assert asker.post(2) == 404
    assert asker.followed() == reply_id


@REFUSALS
def test_a_refused_repetition_does_not_hide_what_the_first_request_asked(
    asker: Asker, refuse: Callable[..., int], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_id = asker.store_turn()
    assert refuse(asker, 1, settings, monkeypatch) in (429, 503)
    assert asker.post(2) == 404
    assert asker.followed() == reply_id


def test_other_requests_are_not_taken_for_the_refused_one(
    asker: Asker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_by_overload(asker, 0, settings, monkeypatch)
    assert asker.post(0, body={"temperature": 1}) == 404
    reply_id = asker.store_turn()
    assert asker.post(1, body={"temperature": 1}) == 404
    assert asker.followed() == reply_id
