"""Failures: the panel at a failed reply, and the page that groups them."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from conversations.models import Message, StaffAccess
from conversations.services.staff.failures import Failure, group_failures
from conversations.tests.factories import NOON, make_conversation

from .factories import TRACE_ID, make_message, make_staff

pytestmark = pytest.mark.django_db

FAILURES = "/admin/conversations/conversation/failures/"
WORKER = UUID("30000000-0000-4000-8000-000000000003")


def make_failure(
    code: str = "upstream_timeout", model: str = "d32", *, ago: timedelta = timedelta(hours=2), **fields: Any
) -> Message:
    failed = {"status": "failed", "error_code": code, "model_tag": model, "created_at": timezone.now() - ago, **fields}
    return make_message(make_conversation(), "assistant", "", **failed)


def groups(client: Client, **asked: str) -> list[tuple[str, str, int]]:
    rows = client.get(FAILURES, asked).context["rows"]
    return [(row.group.model, row.group.code, row.group.count) for row in rows]


def test_the_panel_of_a_failed_reply_says_what_happened(support: Client) -> None:
    conversation = make_conversation()
    asked = make_message(conversation, "user", "?")
    told = {"upstream_status": 529, "upstream_code": "overloaded_error", "trace_id": TRACE_ID}
    sent = {"context": {"messages": 7, "characters": 1234, "left_out": 3, "reason": "budget"}, "prompt_tokens": 400}
    failed = {
        "status": "failed",
        "error_code": "upstream_busy",
        "model_tag": "d32",
        "first_token_ms": 340,
        "inference_time_ms": 4200,
    }
    reply = make_message(conversation, "assistant", "I", minute=1, parent=asked, worker=WORKER, **failed, **told, **sent)
    page = support.get(f"/admin/conversations/conversation/{conversation.pk}/change/").content.decode()
    for expected in (
        "The inference service had too many requests.",
        "529",
        "overloaded_error",
        str(reply.pk),
        f'data-copy="{told["trace_id"]}"',
        str(WORKER),
        "340 ms",
        "4.2 s",
        "7 messages, 1,234 characters",
        "3 older messages not sent",
        f"{FAILURES}?around=2026-11-20T12%3A01%3A00%2B00%3A00&amp;model=d32",
    ):
        assert expected in page, expected


def test_a_reply_that_is_whole_has_no_panel(support: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "assistant", "fine", trace_id=None)
    assert "chat-failure" not in support.get(f"/admin/conversations/conversation/{conversation.pk}/change/").content.decode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "stopped"}, "This reply was stopped"),
        ({"finish_reason": "content_filter"}, "ended this reply because of its content"),
        ({"finish_reason": "length"}, "reached the most tokens"),
    ],
    ids=["stopped", "filtered", "cut"],
)
def test_a_short_reply_says_why_it_ended(support: Client, fields: dict[str, str], expected: str) -> None:
    conversation = make_conversation()
    asked = make_message(conversation, "user", "?")
    make_message(conversation, "assistant", "I", minute=1, parent=asked, **fields)
    page = support.get(f"/admin/conversations/conversation/{conversation.pk}/change/").content.decode()
    assert expected in page and "chat-failure" not in page


def test_a_reply_that_is_whole_says_nothing(support: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "user", "?", finish_reason="length")
    make_message(conversation, "assistant", "I", minute=1, finish_reason="stop")
    page = support.get(f"/admin/conversations/conversation/{conversation.pk}/change/").content.decode()
    assert "chat-ended" not in page


@pytest.mark.parametrize("text", ["so far", ""])
def test_an_interrupted_reply_with_text_had_tokens(support: Client, text: str) -> None:
    conversation = make_conversation()
    asked = make_message(conversation, "user", "?")
    make_message(conversation, "assistant", text, minute=1, parent=asked, status="interrupted")
    page = support.get(f"/admin/conversations/conversation/{conversation.pk}/change/").content.decode()
    assert ("no token came" in page) is not bool(text)


def test_failures_are_grouped_by_model_and_code(support: Client) -> None:
    for model in ("d32", "d32", "d24"):
        make_failure(model=model)
    make_failure("no_answer")
    make_message(make_conversation(), "assistant", "", status="interrupted", created_at=timezone.now() - timedelta(hours=1))
    make_failure("model_gone", ago=timedelta(days=3))
    day = [("d32", "upstream_timeout", 2), ("", "interrupted", 1), ("d24", "upstream_timeout", 1), ("d32", "no_answer", 1)]
    assert groups(support) == groups(support, period="day") == groups(support, period="nonsense", around="x") == day
    assert ("d32", "model_gone", 1) in groups(support, period="week")


def test_a_group_lists_its_failures_with_links(support: Client) -> None:
    wanted = make_failure(upstream_status=504)
    make_failure("no_answer")
    page = support.get(FAILURES, {"model": "d32", "code": "upstream_timeout"})
    assert [one.id for one in page.context["listed"]] == [wanted.pk]
    text = page.content.decode()
    assert f"{wanted.conversation_id}/change/?message={wanted.pk}#message-{wanted.pk}" in text and "504" in text


def test_the_other_failures_of_that_time(support: Client) -> None:
    near = make_message(make_conversation(), "assistant", "", minute=30, status="failed", model_tag="d32")
    make_message(make_conversation(), "assistant", "", minute=90, status="failed", model_tag="d32")
    make_message(make_conversation(), "assistant", "", minute=20, status="failed", model_tag="d24")
    page = support.get(FAILURES, {"around": NOON.isoformat(), "model": "d32"})
    assert [one.id for one in page.context["listed"]] == [near.pk]


@pytest.mark.parametrize(
    "around", ["", "x", "2026-11-20", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-99-01T00:00:00Z"]
)
def test_an_odd_time_shows_the_last_day(support: Client, around: str) -> None:
    assert support.get(FAILURES, {"around": around, "model": "\x00"}).context["period"] == "day"


def test_a_charts_parts_are_the_periods() -> None:
    def failure(hours: float) -> Failure:
        return Failure(WORKER, WORKER, "failed", "no_answer", "d32", NOON + timedelta(hours=hours), None, None)

    (group,) = group_failures([failure(0), failure(0.5), failure(23.99)], since=NOON, until=NOON + timedelta(days=1), parts=24)
    assert group.counts == [2, *[0] * 22, 1]
    assert isinstance(group.newest_at, datetime)


def test_more_than_are_read_is_said(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.services.staff.failures.MOST_READ", 2)
    for _ in range(3):
        make_failure()
    assert "2 or more" in support.get(FAILURES).content.decode()


def test_the_page_is_for_those_who_may_read_and_is_noted(client: Client, support: Client) -> None:
    client.force_login(make_staff("norman"))
    assert client.get(FAILURES).status_code == 403
    support.get(FAILURES)
    assert [(noted.staff_name, noted.kind) for noted in StaffAccess.objects.all()] == [("sue", "listed")]
