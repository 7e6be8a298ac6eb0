"""Who may do what, and what is noted of it."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from chatapi.observability.logs import user_id_var
from conversations.models import StaffAccess
from conversations.models.staff import NO_CONVERSATION
from conversations.services.history.erase import erase_user
from conversations.tests.factories import USER_ID, make_conversation

from .factories import make_chat_user, make_groups, make_long_conversation, make_staff

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/conversation/"
LOG = "/admin/conversations/staffaccess/"


def test_the_groups_hold_what_their_names_promise() -> None:
    def permissions(group: str) -> set[str]:
        return set(Permission.objects.filter(group=Group.objects.get(name=group)).values_list("codename", flat=True))

    make_groups()
    reading = {"view_conversation", "view_chatuser", "view_assistant", "handle_feedback"}
    assert permissions("support") == reading
    operating = reading | {"delete_conversation", "export_conversation"}
    assert permissions("operators") == operating | {"view_webhookevent", "retry_webhookevent"}
    assert permissions("auditors") == {"view_staffaccess"}
    quotas = {f"{what}_userquota" for what in ("view", "add", "change", "delete")}
    leading = {"end_staffsession", "reset_second_factor", "erase_chatuser"}
    leading |= {f"{verb}_legalhold" for verb in ("view", "add", "change")}
    assert permissions("leads") == operating | quotas | leading | {"view_staffaccess", "add_assistant", "change_assistant"}


@pytest.mark.parametrize("codename", ["export_conversation", "handle_feedback"])
def test_a_permission_exists_once(codename: str) -> None:
    make_groups()
    assert Permission.objects.filter(codename=codename).count() == 1


def test_the_groups_can_be_taken_back_and_made_again() -> None:
    from importlib import import_module

    from django.apps import apps

    numbers = ("0037_what_staff_read_for", "0007_admin_groups")
    migrations = [import_module(f"conversations.migrations.{number}") for number in numbers]
    for migration in migrations:
        migration.remove_groups(apps, None)
    assert not Group.objects.exists()
    for migration in [*migrations, *migrations]:
        migration.make_groups(apps, None)
    assert Group.objects.count() == 4


@pytest.mark.parametrize("page", ["", "dashboard/", "{id}/change/"])
def test_strangers_are_sent_to_the_login(client: Client, page: str) -> None:
    answer = client.get(LIST + page.format(id=make_conversation().pk))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    "page", ["conversation/", "conversation/dashboard/", "conversation/{id}/change/", "chatuser/{user}/change/"]
)
def test_staff_without_a_group_see_nothing(page: str) -> None:
    client = Client()
    client.force_login(make_staff("norman"))
    make_chat_user()
    path = page.format(id=make_conversation().pk, user=USER_ID)
    assert client.get(f"/admin/conversations/{path}").status_code == 403
    assert not StaffAccess.objects.exists()


def test_support_may_neither_delete_nor_export(support: Client) -> None:
    conversation = make_conversation()
    page = support.get(f"{LIST}{conversation.pk}/change/").content.decode()
    assert "Delete…" not in page and "Export" not in page
    assert support.get(f"{LIST}{conversation.pk}/delete/").status_code == 403
    assert support.post(f"{LIST}{conversation.pk}/delete/", {"confirmed": "yes"}).status_code == 403
    for action in ("export_as_csv", "export_as_jsonl", "delete_selection", "delete_selected"):
        selection = {"action": action, "_selected_action": str(conversation.pk), "confirmed": "yes", "post": "yes"}
        answer = support.post(LIST, selection)
        assert not answer.streaming
    conversation.refresh_from_db()
    assert not StaffAccess.objects.exclude(kind="read").exists()


@pytest.mark.parametrize("path", ["{id}/change/", "add/"])
def test_history_can_not_be_changed(superuser: Client, path: str) -> None:
    conversation = make_conversation(title="As it was")
    superuser.post(LIST + path.format(id=conversation.pk), {"title": "Forged"})
    conversation.refresh_from_db()
    assert conversation.title == "As it was"


def test_reading_is_noted(support: Client) -> None:
    conversation = make_long_conversation(1)
    support.get(f"{LIST}{conversation.pk}/change/")
    (noted,) = StaffAccess.objects.all()
    assert (noted.staff_name, noted.kind, noted.conversation_id, noted.user_id) == ("sue", "read", conversation.pk, USER_ID)


def test_a_conversation_is_noted_once_per_sitting(support: Client) -> None:
    conversation = make_long_conversation(40)
    path = f"{LIST}{conversation.pk}/change/"
    page = support.get(path)
    support.get(f"{path}?before={page.context['page'].older_cursor}")
    support.get(path)
    assert StaffAccess.objects.count() == 1
    support.force_login(User.objects.get(username="sue"))
    support.get(path)
    assert StaffAccess.objects.count() == 2


def test_lists_and_pages_of_users_are_noted_with_the_search(support: Client, superuser: Client) -> None:
    make_chat_user()
    make_conversation()
    support.get(LIST)
    support.get(LIST, {"q": " ada@example.com\x00 "})
    support.get("/admin/conversations/chatuser/", {"q": "a" * 300})
    support.get(f"/admin/conversations/chatuser/{USER_ID}/change/")
    noted = StaffAccess.objects.order_by("id").values_list("staff_name", "kind", "user_id", "search")
    assert list(noted) == [
        ("sue", "listed", None, ""),
        ("sue", "listed", None, "ada@example.com"),
        ("sue", "listed", None, "a" * 200),
        ("sue", "listed", USER_ID, ""),
    ]
    page = superuser.get(LOG).content.decode()
    assert "ada@example.com" in page and str(NO_CONVERSATION) not in page


def test_the_log_line_of_a_page_names_the_staff_user(support: Client) -> None:
    support.get(LIST)
    assert user_id_var.get() == f"staff-{User.objects.get(username='sue').pk}"


def test_a_note_outlives_conversation_and_staff(operator: Client) -> None:
    conversation = make_conversation(title="A secret title")
    operator.post(f"{LIST}{conversation.pk}/delete/", {"confirmed": "yes"})
    User.objects.get(username="olga").delete()
    (noted,) = StaffAccess.objects.all()
    assert (noted.staff, noted.staff_name, noted.kind, noted.conversation_id) == (None, "olga", "deleted", conversation.pk)


def test_only_superusers_read_the_notes(support: Client, operator: Client, superuser: Client) -> None:
    conversation = make_conversation()
    support.get(f"{LIST}{conversation.pk}/change/")
    for client in (support, operator):
        assert client.get(LOG).status_code == 403
        assert "staffaccess" not in client.get("/admin/").content.decode()
    assert "sue" in superuser.get(LOG).content.decode()


@pytest.mark.parametrize("wanted", ["sue", str(USER_ID), "conversation"])
def test_the_notes_can_be_searched(support: Client, superuser: Client, wanted: str) -> None:
    conversation = make_conversation()
    support.get(f"{LIST}{conversation.pk}/change/")
    other = make_conversation(user_id=None)
    superuser.get(f"{LIST}{other.pk}/change/")
    found = superuser.get(LOG, {"q": str(conversation.pk) if wanted == "conversation" else wanted})
    assert [noted.conversation_id for noted in found.context["cl"].result_list] == [conversation.pk]


def test_the_notes_cannot_be_changed(superuser: Client) -> None:
    note = StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=USER_ID)
    superuser.post(f"{LOG}{note.pk}/delete/", {"post": "yes"})
    superuser.post(LOG, {"action": "delete_selected", "_selected_action": str(note.pk), "post": "yes"})
    note.refresh_from_db()


def test_the_notes_carry_the_databases_time(support: Client) -> None:
    from django.utils import timezone

    support.get(f"{LIST}{make_conversation().pk}/change/")
    assert abs(StaffAccess.objects.get().at - timezone.now()) < timedelta(hours=1)


def test_an_auditor_reads_the_notes_and_nothing_else(support: Client) -> None:
    conversation = make_conversation()
    support.get(f"{LIST}{conversation.pk}/change/")
    auditor = make_staff("audrey")
    auditor.user_permissions.add(Permission.objects.get(codename="view_staffaccess"))
    client = Client()
    client.force_login(auditor)
    assert "sue" in client.get(LOG).content.decode()
    assert "staffaccess" in client.get("/admin/").content.decode()
    for path in (LIST, f"{LIST}{conversation.pk}/change/", "/admin/conversations/chatuser/", f"{LIST}dashboard/"):
        assert client.get(path).status_code == 403


@pytest.mark.parametrize(("field", "value"), [("temperature", "3"), ("max_tokens", "0"), ("top_k", "201")])
def test_a_value_out_of_range_is_named_at_its_field(superuser: Client, field: str, value: str) -> None:
    answer = superuser.post(
        "/admin/conversations/assistant/add/", {"name": "Poet", "requires_authentication": "on", field: value}
    )
    assert list(answer.context["adminform"].form.errors) == [field]


def test_erasing_a_user_blanks_searches_for_their_address(support: Client) -> None:
    make_chat_user()
    for wanted in ("ADA@example.com", "bob@example.com"):
        support.get(LIST, {"q": wanted})
    erase_user(user_id=USER_ID)
    assert set(StaffAccess.objects.values_list("search", flat=True)) == {"(erased)", "bob@example.com"}
