"""Staff give single users other limits."""

import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from conversations.models import StaffAccess, UserQuota
from conversations.services.usage.quotas import read_quota
from conversations.tests.factories import USER_ID

from .factories import make_chat_user

pytestmark = [pytest.mark.django_db, pytest.mark.one_day]
LIST = "/admin/conversations/userquota/"
USER_PAGE = f"/admin/conversations/chatuser/{USER_ID}/change/"


@pytest.mark.parametrize("is_set", [True, False])
def test_the_form_says_if_no_limit_counts(superuser: Client, settings: Any, *, is_set: bool) -> None:
    settings.QUOTA_TOKENS_DAY = 100 if is_set else 0
    page = superuser.get(f"{LIST}add/?user_id={USER_ID}").content.decode()
    assert ("No limit counts here yet" in page) is not is_set


def test_a_superuser_sets_and_changes_a_user_s_limits_and_is_recorded(superuser: Client, settings: Any) -> None:
    settings.QUOTA_TOKENS_DAY = 100
    make_chat_user()
    add = f"{LIST}add/?user_id={USER_ID}"
    assert f'href="{add}"' in superuser.get(USER_PAGE).content.decode()
    assert str(USER_ID) in superuser.get(add).content.decode()
    assert superuser.post(f"{LIST}add/", {"user_id": str(USER_ID), "tokens_day": "7", "tokens_month": ""}).status_code == 302
    day = read_quota(USER_ID).day
    assert day is not None
    assert day.limit == 7
    change = f"{LIST}{USER_ID}/change/"
    page = superuser.get(USER_PAGE).content.decode()
    assert f'href="{change}"' in page and "0 of 7 tokens" in page
    # The id can't be changed.
    posted = {"user_id": str(uuid.uuid4()), "tokens_day": "", "tokens_month": "9"}
    assert superuser.post(change, posted).status_code == 302
    assert list(UserQuota.objects.values_list()) == [(USER_ID, None, 9)]
    assert list(LogEntry.objects.order_by("id").values_list("user__username", "object_id", "action_flag")) == [
        ("root", str(USER_ID), 1),
        ("root", str(USER_ID), 2),
    ]
    assert superuser.post(f"{change.replace('change', 'delete')}", {"post": "yes"}).status_code == 302
    acts = StaffAccess.objects.filter(kind="quota", user_id=USER_ID).order_by("id").values_list("staff_name", "search")
    assert list(acts) == [
        ("root", "tokens per day 7, month as for all"),
        ("root", "tokens per day as for all, month 9"),
        ("root", "as for all again"),
    ]


@pytest.mark.parametrize("tokens", ["-1", "many", str(2**63)])
def test_a_limit_is_a_number_that_the_database_can_hold(superuser: Client, tokens: str) -> None:
    answer = superuser.post(f"{LIST}add/", {"user_id": str(USER_ID), "tokens_day": tokens})
    assert (answer.status_code, UserQuota.objects.count()) == (200, 0)


@pytest.mark.parametrize("search", ["", str(USER_ID), "nothing", "\x00"])
def test_quotas_are_found_by_the_user_s_id(superuser: Client, search: str) -> None:
    for user_id in (USER_ID, uuid.uuid4()):
        UserQuota.objects.create(user_id=user_id, tokens_day=5)
    answer = superuser.get(LIST, {"q": search})
    found = [row.user_id for row in answer.context["cl"].result_list]
    assert len(found) == {"": 2, str(USER_ID): 1}.get(search, 2 if search == "\x00" else 0)


def test_quotas_are_found_by_the_user_s_address(superuser: Client) -> None:
    make_chat_user()
    for user_id in (USER_ID, uuid.uuid4()):
        UserQuota.objects.create(user_id=user_id, tokens_day=5)
    for search, found in (("ADA@example.com", [USER_ID]), ("ada@", [USER_ID]), ("bob@", [])):
        answer = superuser.get(LIST, {"q": search})
        assert [row.user_id for row in answer.context["cl"].result_list] == found
    assert "ada@example.com" in superuser.get(LIST).content.decode()


def test_other_staff_change_no_quota(operator: Client, support: Client) -> None:
    make_chat_user()
    UserQuota.objects.create(user_id=USER_ID, tokens_day=5)
    for staff in (operator, support):
        assert "Change the quota" not in staff.get(USER_PAGE).content.decode()
        assert staff.get(LIST).status_code == 403
        assert staff.post(f"{LIST}{USER_ID}/change/", {"tokens_day": "9"}).status_code == 403
    assert UserQuota.objects.get().tokens_day == 5
