"""The hand-written statements of a send say the same as the querysets that describe it."""

from typing import Any

import pytest
from django.db import transaction

from conversations.models import Message, Status
from conversations.services.turns.context import SPARE_ROWS, Budget, History
from conversations.services.turns.statements import Survey, count_history_of, survey_conversation
from conversations.tests.factories import (
    USER_ID,
    make_conversation,
    make_message,
    make_reply,
    make_running_reply,
    make_turns,
)

pytestmark = pytest.mark.django_db


def survey(conversation: Any, budget: Budget, key: str = "") -> Survey:
    with transaction.atomic():
        return survey_conversation(conversation.id, USER_ID, budget, idempotency_key=key, limited=True)


@pytest.mark.parametrize("most", [1, 2, 5, 50])
def test_history_is_that_of_the_queryset(settings: Any, most: int) -> None:
    settings.MAX_CONVERSATION_HISTORY = most
    settings.MAX_TOKEN_BUDGET = 20
    conversation = make_conversation()
    make_turns(make_conversation(), 1)
    turns = make_turns(conversation, 2)
    make_reply(turns[0], "another answer", is_active=False)
    asked = make_message(conversation, "ünïcödé " * 10, created_at=turns[-1].created_at)
    make_reply(asked, "partly", status=Status.FAILED)
    make_reply(asked, "", status=Status.STOPPED)
    make_running_reply(asked, "so far")
    budget = Budget.left_by("newest", "")
    expected = History(Message.objects.in_conversation(conversation.id)).read(budget, budget.rows_to_read)
    assert len(expected) == min(most + SPARE_ROWS, 7)
    assert survey(conversation, budget).history == expected


@pytest.mark.parametrize("most", [1, 100])
def test_history_is_as_long_as_that_of_the_queryset(most: int) -> None:
    conversation = make_conversation()
    make_turns(make_conversation(), 1)
    turns = make_turns(conversation, 2)
    make_reply(turns[0], "another answer", is_active=False)
    make_reply(turns[-2], "partly", status=Status.FAILED)
    make_reply(turns[-2], "", status=Status.STOPPED)
    make_running_reply(turns[-2], "so far")
    expected = History(Message.objects.in_conversation(conversation.id)).count(most)
    assert count_history_of(conversation.id, most) == expected == min(most, 5)


def test_an_empty_conversation_has_no_history() -> None:
    assert survey(make_conversation(), Budget.left_by("newest", "")).history == []


@pytest.mark.parametrize(("age_s", "abandoned"), [(0, False), (60, True)])
def test_running_replies_are_those_of_the_queryset(age_s: float, abandoned: bool) -> None:
    conversation = make_conversation()
    running = make_running_reply(make_message(conversation), heartbeat_age_s=age_s)
    make_running_reply(make_message(make_conversation()))
    make_running_reply(make_message(make_conversation(user_id=None)))
    found = survey(conversation, Budget.left_by("newest", ""))
    assert (found.running_id, found.is_abandoned, found.running_of_user) == (running.id, abandoned, 2)
    assert Message.objects.abandoned().filter(id=running.id).exists() is abandoned


def test_an_earlier_send_is_found_by_its_key_in_its_conversation() -> None:
    conversation = make_conversation()
    asked = make_message(conversation, idempotency_key="k", request_fingerprint="f")
    make_message(make_conversation(), idempotency_key="other", request_fingerprint="f")
    budget = Budget.left_by("newest", "")
    found = survey(conversation, budget, "k")
    assert (found.earlier_id, found.earlier_fingerprint) == (asked.id, "f")
    assert survey(conversation, budget, "other").earlier_id is None
    assert survey(conversation, budget).earlier_id is None
