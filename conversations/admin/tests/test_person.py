"""A person's page: usage per day, who read it, and the list of users near their quota."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from conversations.models import StaffAccess, UsageTotal, UserQuota
from conversations.models.staff import NO_CONVERSATION
from conversations.tests.factories import USER_ID, make_conversation

from .factories import make_chat_user, make_staff

pytestmark = pytest.mark.django_db

PERSON = f"/admin/conversations/chatuser/{USER_ID}/change/"
NEAR = "/admin/conversations/userquota/near/"
OTHER, THIRD = UUID(int=2), UUID(int=3)


def use(user_id: UUID, tokens: int, *, ago: timedelta = timedelta(0)) -> None:
    UsageTotal.objects.create(user_id=user_id, bucket=timezone.now() - ago, messages=3, replies=3, tokens=tokens)


def near(client: Client) -> list[tuple[UUID, int]]:
    return [(one.user_id, one.percent) for one in client.get(NEAR).context["users"]]


def test_usage_per_day_is_shown_and_no_deletion_changes_it(support: Client) -> None:
    make_chat_user()
    use(USER_ID, 1234)
    use(USER_ID, -5, ago=timedelta(days=1))
    use(USER_ID, 77, ago=timedelta(days=29))
    charts = support.get(PERSON).context["charts"]
    assert [chart.title for chart in charts] == ["Messages sent", "Tokens of replies"]
    labels = [bar.label for bar in charts[1].bars]
    assert len(labels) == 30
    assert [label.split(": ")[1] for label in (labels[0], labels[-2], labels[-1])] == ["77", "0", "1,234"]


def test_who_read_a_person_is_shown_to_those_who_may_see_the_record(support: Client, superuser: Client) -> None:
    make_chat_user()
    conversation = make_conversation()
    support.get(f"/admin/conversations/conversation/{conversation.pk}/change/")
    assert "Who read" not in support.get(PERSON).content.decode()
    page = superuser.get(PERSON)
    assert [(one.staff_name, one.kind) for one in page.context["readers"]] == [("sue", "listed"), ("sue", "read")]
    assert str(conversation.pk) in page.content.decode()


def test_what_was_done_to_all_of_a_user_is_shown_without_a_link(superuser: Client) -> None:
    make_chat_user()
    # Read to its end, where the test client closes the file.
    assert b"".join(superuser.post(PERSON.replace("change", "export")).streaming_content)
    page = superuser.get(PERSON).content.decode()
    assert "exported (everything)" in page
    assert str(NO_CONVERSATION) not in page
    record = superuser.get("/admin/conversations/staffaccess/").content.decode()
    assert str(NO_CONVERSATION) not in record and "–" in record


def test_users_near_a_limit_are_listed_the_fullest_first(support: Client, settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY, settings.QUOTA_TOKENS_MONTH = 100, 0
    make_chat_user()
    use(USER_ID, 80)
    use(OTHER, 79)
    use(THIRD, 150)
    assert near(support) == [(THIRD, 150), (USER_ID, 80)]
    assert "ada@example.com" in support.get(NEAR).content.decode()
    UserQuota.objects.create(user_id=THIRD, tokens_day=0)
    UserQuota.objects.create(user_id=OTHER, tokens_month=79)
    assert near(support) == [(OTHER, 100), (USER_ID, 80)]


def test_last_month_does_not_count(support: Client, settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY, settings.QUOTA_TOKENS_MONTH = 0, 100
    use(USER_ID, 1000, ago=timedelta(days=32))
    assert near(support) == []


def test_without_quotas_the_page_says_so(support: Client, settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY, settings.QUOTA_TOKENS_MONTH = 0, 0
    use(USER_ID, 1000)
    assert "limits no user" in support.get(NEAR).content.decode()


def test_a_count_that_takes_too_long_is_said(support: Client, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    slow = "SELECT pg_sleep(10), %(tokens_day)s, %(tokens_month)s, %(near)s, %(limit)s"
    monkeypatch.setattr("conversations.services.usage.quotas.NEAR_QUOTA_SQL", slow)
    monkeypatch.setattr("conversations.services.usage.quotas.NEAR_TIMEOUT_MS", 50)
    assert "took too long" in support.get(NEAR).content.decode()


def test_the_list_is_for_those_who_may_see_users_and_is_noted(client: Client, support: Client) -> None:
    client.force_login(make_staff("norman"))
    assert client.get(NEAR).status_code == 403
    support.get(NEAR)
    assert [(noted.staff_name, noted.kind) for noted in StaffAccess.objects.all()] == [("sue", "listed")]
