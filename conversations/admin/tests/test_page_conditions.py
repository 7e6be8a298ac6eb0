"""What the address of an admin page may ask."""

import pytest
from django.contrib import admin
from django.test import Client

from conversations.tests.factories import make_conversation

from .factories import make_message

CONVERSATIONS = "/admin/conversations/conversation/"
LISTS = [
    CONVERSATIONS,
    "/admin/conversations/chatuser/",
    "/admin/conversations/staffaccess/",
    "/admin/conversations/assistant/",
    "/admin/conversations/userquota/",
    "/admin/conversations/webhookevent/",
    "/admin/conversations/legalhold/",
    "/admin/conversations/retentionrule/",
]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "lookup",
    [
        "assistant__conversation__messages__content__contains",
        "assistant__conversation__messages__content__regex",
        "assistant__system_prompt__regex",
        "updated_at__year__regex",
        "messages__content__startswith",
        "title__contains",
        "is_favorited__in",
        "user_id__gt",
    ],
)
def test_conditions_that_no_filter_uses_are_refused(superuser: Client, lookup: str) -> None:
    make_message(make_conversation(title="The sea"), "user", "secret")
    answer = superuser.get(CONVERSATIONS, {lookup: "secret"})
    # DisallowedModelAdminLookup is a bad request.
    assert answer.status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("list_", "lookup"),
    [
        ("chatuser", "email__regex"),
        ("staffaccess", "staff_name__regex"),
        ("staffaccess", "staff__password__startswith"),
        ("assistant", "system_prompt__regex"),
        ("assistant", "conversation__messages__content__contains"),
    ],
)
def test_nor_in_the_other_lists(superuser: Client, list_: str, lookup: str) -> None:
    assert superuser.get(f"/admin/conversations/{list_}/", {lookup: "a"}).status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize("address", LISTS)
def test_every_link_of_every_filter_works(superuser: Client, address: str) -> None:
    make_conversation(title="The sea", model_tag="d32")
    changelist = superuser.get(address).context["cl"]
    links = [choice["query_string"] for spec in changelist.filter_specs for choice in spec.choices(changelist)]
    assert bool(links) == bool(changelist.list_filter)
    for link in links:
        answer = superuser.get(address + link)
        assert answer.status_code == 200, link


@pytest.mark.django_db
@pytest.mark.parametrize("address", LISTS)
@pytest.mark.parametrize("parameter", ["model", "last_reply", "updated_at__gte", "kind__exact", "q", "p", "o", "nonsense"])
def test_a_null_character_is_ignored(superuser: Client, address: str, parameter: str) -> None:
    with_it, without = (superuser.get(f"{address}?{parameter}={value}") for value in ("a%00", "a"))
    assert with_it.status_code == without.status_code < 500


@pytest.mark.django_db
def test_every_list_names_its_lookups() -> None:
    from conversations.admin.lists import ListedLookupsAdmin

    ours = [model for model in admin.site._registry if model._meta.app_label == "conversations"]
    assert len(ours) == len(LISTS)
    assert all(isinstance(admin.site._registry[model], ListedLookupsAdmin) for model in ours)


@pytest.mark.django_db
def test_there_is_no_redirect_to_a_row_s_own_page(admin_client: Client) -> None:
    assert admin_client.get("/admin/r/1/1/").status_code == 404
