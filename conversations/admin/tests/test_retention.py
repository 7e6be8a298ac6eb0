"""Superusers write retention rules, and what they change is in Django's log."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from conversations.models import Assistant, RetentionRule
from conversations.tests.factories import USER_ID

from .factories import make_chat_user

pytestmark = pytest.mark.django_db
LIST = "/admin/conversations/retentionrule/"


def post(client: Client, address: str = f"{LIST}add/", **fields: str) -> Any:
    return client.post(address, {"what": "conversations", "days": "90", "user": "", "assistant": "", "model_tag": "", **fields})


def test_a_superuser_writes_a_rule_of_each_kind(superuser: Client) -> None:
    make_chat_user()
    pirate = Assistant.objects.create(name="Pirate")
    for fields in (
        {},
        {"user": "Ada@example.com", "days": ""},
        {"assistant": str(pirate.id), "includes_favorites": "on"},
        {"model_tag": "d32"},
        {"is_anonymous": "on", "days": "7"},
        {"what": "usage_totals", "days": "94"},
        {"what": "archives"},
    ):
        assert post(superuser, **fields).status_code == 302, fields
    page = superuser.get(LIST).content.decode()
    for text in (
        "of the user ada@example.com",
        "with the assistant Pirate",
        "with the model d32",
        "anonymous callers",
        "for ever",
        "deleted, too",
        "<h1>Retention rules</h1>",
    ):
        assert text in page
    rule = RetentionRule.objects.get(user_id=USER_ID)
    assert rule.days is None
    address = f"{LIST}{rule.pk}/change/"
    assert superuser.get(address).status_code == 200
    assert post(superuser, address, user=str(USER_ID), days="30").status_code == 302
    rule.refresh_from_db()
    assert (rule.days, rule.user_id) == (30, USER_ID)
    assert LogEntry.objects.count() == 8
    pirate.delete()
    mine = RetentionRule.objects.get(assistant_id__isnull=False)
    assert "(deleted)" in superuser.get(f"{LIST}{mine.pk}/change/").content.decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"days": "0"},
        {"days": "many"},
        {"what": "usage_totals", "days": "93"},
        {"what": "usage_totals", "days": "100", "model_tag": "d32"},
        {"user": "nobody@example.com"},
        {"user": "ada@example.com", "model_tag": "d32"},
        {"assistant": "11111111-1111-4111-8111-111111111111"},
        {"model_tag": "twin"},
    ],
    ids=["0 days", "no days", "usage", "usage of a model", "unknown user", "two scopes", "unknown assistant", "twin"],
)
def test_what_is_wrong_is_said(superuser: Client, fields: dict[str, str]) -> None:
    make_chat_user()
    RetentionRule.objects.create(model_tag="twin", days=5)
    assert post(superuser, **fields).status_code == 200
    assert RetentionRule.objects.count() == 1


def test_nobody_else_may(support: Client, operator: Client) -> None:
    for client in (support, operator):
        assert client.get(LIST).status_code == 403
        assert post(client).status_code == 403
