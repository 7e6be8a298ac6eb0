"""`manage.py user_report`: numbers and times of one user, and nothing that the user wrote."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError

from conversations.models import ChatUser, RetentionRule, StaffAccess, UsageTotal, UserInstructions, UserQuota
from conversations.services.history.erase import erase_user
from conversations.services.history.holds import place_hold
from conversations.tests.factories import NOW, USER_ID, make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]


def fill() -> None:
    ChatUser.objects.create(id=USER_ID, email="mira@example.com", name="Mira\x1b[31m")
    kept = make_old_conversation(user_id=USER_ID, title="A secret title", is_archived=True)
    make_old_conversation(user_id=USER_ID, last_status="failed")
    make_old_conversation()
    UsageTotal.objects.create(user_id=USER_ID, bucket=NOW.replace(minute=0, second=0, microsecond=0), tokens=40, messages=2)
    UserQuota.objects.create(user_id=USER_ID, tokens_day=100)
    UserInstructions.objects.create(user_id=USER_ID, text="a secret instruction")
    place_hold(reason="a secret file", placed_by="root", conversation_id=kept.id)
    RetentionRule.objects.create(user_id=USER_ID, days=400)
    StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=kept.id, user_id=USER_ID)


@pytest.mark.one_day
def test_it_has_the_numbers_and_no_text(manage: Manage, manage_json: Callable[..., Any], settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 50
    fill()
    report = manage_json("user_report", "Mira@example.com")
    assert report["user_id"] == str(USER_ID)
    assert report["directory"]["email"] == "mira@example.com"
    assert [report["conversations"][name] for name in ("total", "archived", "in_trash")] == [2, 1, 0]
    assert [report["messages"][name] for name in ("total", "replies", "failed")] == [4, 2, 1]
    assert (report["usage"]["tokens"], report["quota"]["day"]["limit"], report["retention_days"]) == (40, 100, 400)
    assert len(report["holds"]) == report["access_by_staff"]["records"] == 1
    assert report["rows"]["usage_totals"] == 1
    text = manage("user_report", str(USER_ID))
    assert "conversations.total:" in text and "quota.day.limit:" in text
    for written in (str(report), text):
        assert "secret" not in written
    assert "\x1b" not in text


def test_unknown_users_are_refused_and_erased_ones_are_said_to_be(manage: Manage, manage_json: Callable[..., Any]) -> None:
    for reference in (str(uuid4()), "nobody@example.com"):
        with pytest.raises(CommandError) as failure:
            manage("user_report", reference)
        assert failure.value.returncode == 3
    user = make_old_conversation().user_id
    assert user is not None
    erase_user(user_id=user)
    report = manage_json("user_report", str(user))
    assert (report["is_erased"], report["conversations"]["total"], report["directory"]) == (True, 0, None)
