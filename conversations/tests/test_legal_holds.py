"""Legal holds: what is on hold is spared by commands, services and the database itself."""

import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

import conversations
from conversations.exceptions import OnHold
from conversations.models import ChatUser, Conversation, Message, StaffAccess, UsageTotal, UserInstructions
from conversations.models.holds import LegalHold
from conversations.services.bulk import Filters, change_all, change_some
from conversations.services.conversations import delete_conversation, delete_conversations
from conversations.services.history.holds import NothingToHold, change_end, place_hold, release_hold
from conversations.services.history.pruning import prune
from conversations.services.history.pruning.prune import PruneCriteria, prune_history
from conversations.services.instructions import delete_instructions
from conversations.services.sessions import forget_history, open_session
from conversations.tests.conftest import remaining
from conversations.tests.factories import USER_ID, days_ago, make_conversation, make_old_conversation
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]
ManageJson = Callable[..., Any]
PRUNES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "old": (("--older-than", "90d"), {}),
    "of-a-user": (("--user", str(USER_ID)), {}),
    "anonymous": (("--anonymous",), {"user_id": None}),
    "failed": (("--status", "failed"), {"last_status": "failed"}),
    "empty": (("--empty",), {"messages": 0}),
    "expired": (("--expired",), {"expires_at": days_ago(1)}),
    "keep-last": (("--keep-last", "1"), {}),
    "archived": (("--archived",), {"is_archived": True}),
    "tagged": (("--tag", "old"), {"tags": ["old"], "tag_keys": ["old"]}),
}


def hold(conversation: Conversation | None = None, user_id: UUID | None = None, **more: Any) -> LegalHold:
    held_id = conversation.id if conversation else None
    return place_hold(reason="file 12", placed_by="root", conversation_id=held_id, user_id=user_id, **more)


@pytest.mark.parametrize("mode", PRUNES)
@pytest.mark.parametrize("is_user_held", [False, True])
def test_no_mode_of_pruning_deletes_it(manage_json: ManageJson, mode: str, is_user_held: bool) -> None:
    options, fields = PRUNES[mode]
    fields = {"user_id": USER_ID, **fields}
    if fields["user_id"] is None and is_user_held:
        return
    doomed, held = (make_old_conversation(**fields) for _ in range(2))
    if fields["user_id"] is None:
        Conversation.objects.update(user_id=None)
    if mode == "keep-last":
        make_old_conversation(user_id=USER_ID, age_days=1)
    if is_user_held:
        # Another user's goes.
        Conversation.objects.filter(id=doomed.id).update(user_id=uuid4())
        hold(user_id=USER_ID)
    else:
        hold(held)
    before = Message.objects.filter(conversation=held).count()
    expected = 0 if (is_user_held and mode in ("of-a-user", "keep-last")) else 1
    dry = manage_json("prune_history", *options, "--dry-run")
    done = manage_json("prune_history", *options, "--yes")
    assert (dry["conversations"], done["conversations"]) == (expected, expected)
    assert (dry["on_hold"], done["on_hold"]) == (1, 1)
    assert held.id in remaining()
    assert (doomed.id in remaining()) is (expected == 0)
    assert Message.objects.filter(conversation=held).count() == before


def test_what_is_spared_is_said(manage: Manage) -> None:
    hold(make_old_conversation())
    assert "On hold and spared: 1 conversations." in manage("prune_history", "--older-than", "90d", "--yes")


def test_the_trash_keeps_it(manage_json: ManageJson, settings: Any) -> None:
    settings.TRASH_DAYS = 1
    kept = make_old_conversation(deleted_at=days_ago(5), expires_at=days_ago(5))
    hold(kept)
    assert manage_json("prune_history", "--expired", "--yes")["on_hold"] == 1
    assert remaining() == {kept.id}


@pytest.mark.parametrize("is_user_held", [False, True])
@pytest.mark.parametrize("command", [("erase_user",), ("erase_user", "--dry-run"), ("move_history",)])
def test_a_user_on_hold_is_neither_erased_nor_moved(manage: Manage, command: tuple[str, ...], is_user_held: bool) -> None:
    kept = make_old_conversation(user_id=USER_ID)
    make_old_conversation(user_id=USER_ID)
    placed = hold(user_id=USER_ID) if is_user_held else hold(kept)
    name, *options = command
    who = [str(USER_ID)] if name == "erase_user" else ["--from", str(USER_ID), "--to", str(uuid4())]
    with pytest.raises(CommandError, match=rf"On hold: .*\(hold {placed.pk}\)\. Nothing was changed") as refusal:
        manage(name, *who, *options, *([] if options else ["--yes"]))
    assert refusal.value.returncode == 4
    assert "file 12" not in str(refusal.value), "the reason is not for everyone who reads cron's mail"
    assert Conversation.objects.owned_by(USER_ID).count() == 2
    release_hold(hold_id=placed.pk, released_by="root")
    manage(name, *who, *options, *([] if options else ["--yes"]))
    assert Conversation.objects.owned_by(USER_ID).count() == (2 if options else 0)


def test_records_of_users_on_hold_stay(manage_json: ManageJson) -> None:
    held, other = USER_ID, uuid4()
    long_ago = days_ago(2000)
    kept = make_old_conversation(user_id=uuid4())
    hold(user_id=held)
    hold(kept)
    for user in (held, other):
        UsageTotal.objects.create(user_id=user, bucket=long_ago.replace(minute=0, second=0, microsecond=0))
        ChatUser.objects.create(id=user, last_seen_at=long_ago)
        StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=uuid4(), user_id=user, at=long_ago)
    StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=kept.id, user_id=kept.user_id, at=long_ago)
    options = ("--usage-older-than", "3y", "--access-older-than", "3y", "--users-unseen-for", "3y", "--yes")
    result = manage_json("prune_records", *options)
    assert [result[name] for name in ("usage_totals", "staff_access", "chat_users", "on_hold")] == [1, 1, 1, 4]
    assert list(UsageTotal.objects.values_list("user_id", flat=True)) == [held]
    assert list(ChatUser.objects.values_list("id", flat=True)) == [held]
    assert set(StaffAccess.objects.values_list("user_id", flat=True)) == {held, kept.user_id}


@pytest.mark.parametrize("trash_days", [0, 7])
@pytest.mark.parametrize("is_user_held", [False, True])
def test_users_can_not_delete_it(settings: Any, trash_days: int, is_user_held: bool) -> None:
    settings.TRASH_DAYS = trash_days
    kept = make_old_conversation(user_id=USER_ID, session_id="named")
    if is_user_held:
        hold(user_id=USER_ID)
    else:
        hold(kept)
    with pytest.raises(OnHold):
        delete_conversation(conversation_id=kept.id, user_id=USER_ID)
    with pytest.raises(OnHold):
        forget_history(session_id="named", user_id=USER_ID)
    one = change_some(user_id=USER_ID, conversation_ids=[kept.id], action="delete")
    everything = change_all(user_id=USER_ID, filters=Filters(is_everything=True), action="delete")
    for result in (one, everything):
        assert (result.changed, result.left_out) == (0, {kept.id: "on_hold"})
    assert delete_conversations(conversation_ids=[kept.id]) == {kept.id}
    row = Conversation.objects.get(id=kept.id)
    assert (row.deleted_at, row.expires_at, row.messages.count()) == (None, None, 2)


def test_own_instructions_of_a_user_on_hold_stay() -> None:
    UserInstructions.objects.create(user_id=USER_ID, text="be brief")
    hold(user_id=USER_ID)
    with pytest.raises(OnHold):
        delete_instructions(user_id=USER_ID)
    assert UserInstructions.objects.exists()


def test_an_expired_session_on_hold_gives_its_name_and_nothing_else() -> None:
    name = str(uuid4())
    kept = make_old_conversation(session_id=name, expires_at=days_ago(1))
    Conversation.objects.update(user_id=None)
    hold(kept)
    opening = open_session(session_id=name, user_id=uuid4()).conversation
    assert callable(opening)
    from conversations.services.sessions import _create_session

    made_id = _create_session(name, None, None)
    assert made_id != kept.id
    assert Conversation.objects.get(id=kept.id).messages.count() == 2


@pytest.mark.parametrize("of", ["conversation", "user"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM conversations WHERE id = ANY(%(ids)s)",
        "DELETE FROM messages WHERE conversation_id = ANY(%(ids)s)",
        "DELETE FROM messages WHERE id = (SELECT id FROM messages WHERE conversation_id = ANY(%(ids)s) LIMIT 1)",
    ],
)
def test_the_database_refuses_whoever_deletes_it(statement: str, of: str) -> None:
    """As nodes of the version before, the predecessor and a person with psql delete."""
    kept, other = make_old_conversation(user_id=USER_ID), make_old_conversation()
    placed = hold(user_id=USER_ID) if of == "user" else hold(kept)
    with connection.cursor() as cursor:
        with pytest.raises(IntegrityError, match="a legal hold forbids"), transaction.atomic():
            cursor.execute(statement, {"ids": [kept.id, other.id] if "LIMIT" not in statement else [kept.id]})
        assert Message.objects.count() == 4
        cursor.execute(statement, {"ids": [other.id]})
        release_hold(hold_id=placed.pk, released_by="root")
        cursor.execute(statement, {"ids": [kept.id]})
    assert Message.objects.count() == (2 if "LIMIT" in statement else 0)


def test_a_role_that_may_only_delete_is_refused_too() -> None:
    """The triggers read the holds with the rights of whoever deletes: the predecessor's role, for example."""
    kept, other = make_old_conversation(), make_old_conversation()
    hold(kept)
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE only_deletes")
        cursor.execute("GRANT SELECT, UPDATE, DELETE ON conversations, messages TO only_deletes")
        cursor.execute("SET LOCAL ROLE only_deletes")
        with pytest.raises(IntegrityError, match="a legal hold forbids"), transaction.atomic():
            cursor.execute("DELETE FROM conversations WHERE id = %s", [kept.id])
        cursor.execute("DELETE FROM conversations WHERE id = %s", [other.id])
        cursor.execute("SELECT has_column_privilege('legal_holds', 'reason', 'SELECT')")
        assert cursor.fetchone() == (False,)
        cursor.execute("RESET ROLE")
    assert remaining() == {kept.id}


def test_a_hold_ends_by_itself_and_its_end_can_be_changed(manage_json: ManageJson) -> None:
    kept = make_old_conversation()
    placed = hold(kept, ends_at=timezone.now() + timedelta(days=1))
    assert change_end(hold_id=placed.pk, ends_at=None)
    assert manage_json("prune_history", "--older-than", "90d", "--yes")["on_hold"] == 1
    LegalHold.objects.update(ends_at=timezone.now() - timedelta(seconds=1))
    assert not change_end(hold_id=placed.pk, ends_at=None), "what has ended needs a new hold"
    assert manage_json("prune_history", "--older-than", "90d", "--yes")["conversations"] == 1


@pytest.mark.django_db(transaction=True)
def test_a_hold_of_this_moment_spares_its_batch_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is chosen when the hold comes. A trigger refuses it, and the run goes on."""
    kept, other = make_old_conversation(age_days=300), make_old_conversation(age_days=200)
    deletes = prune.delete_with_messages

    def hold_first(ids: Any) -> tuple[int, int]:
        if not LegalHold.objects.exists():
            # Not `place_hold`, which would wait for this deletion.
            row = LegalHold(conversation_id=kept.id, reason="file 12", placed_by="root")
            adding = threading.Thread(target=lambda: (row.save(), connections.close_all()))
            adding.start()
            adding.join()
        return deletes(ids)

    monkeypatch.setattr(prune, "delete_with_messages", hold_first)
    result = prune_history(criteria=PruneCriteria(older_than=days_ago(90)), largest_batch=1)
    assert (result.conversations, result.is_complete) == (1, True)
    assert remaining() == {kept.id}
    assert Message.objects.filter(conversation=kept).count() == 2
    assert other.id not in remaining()


@pytest.mark.django_db(transaction=True)
def test_a_hold_waits_for_a_deletion_that_is_running() -> None:
    """When the hold is placed, the conversation is gone for good or stays for good."""
    going, staying = make_old_conversation(), make_old_conversation()
    refused: list[Exception] = []

    def hold_it() -> None:
        try:
            hold(going)
        except NothingToHold as failure:
            refused.append(failure)
        finally:
            connections.close_all()

    holder = threading.Thread(target=hold_it)
    with transaction.atomic():
        Conversation.objects.filter(id=going.id).delete()
        holder.start()
        wait_until(_is_waiting, "the hold waits for the deletion")
    holder.join()
    assert len(refused) == 1
    hold(staying)
    with pytest.raises(OnHold):
        delete_conversation(conversation_id=staying.id, user_id=staying.user_id)


def _is_waiting() -> bool:
    """Return whether another session waits for this one. Not from pg_stat_activity, which a transaction sees as it was."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


def test_the_command_places_lists_changes_and_releases(manage: Manage, manage_json: ManageJson) -> None:
    kept = make_old_conversation(user_id=USER_ID)
    ChatUser.objects.create(id=USER_ID, email="mira@example.com")
    first = manage_json("legal_hold", "place", "--user", "Mira@example.com", "--reason", " file\n12 ", "--by", "root")
    assert (first["user_id"], first["reason"], first["placed_by"], first["ends_at"]) == (str(USER_ID), "file 12", "root", None)
    second = manage_json("legal_hold", "place", "--conversation", str(kept.id), "--reason", "file 13", "--until", "2999-01-31")
    assert second["conversation_id"] == str(kept.id)
    assert [one["hold"] for one in manage_json("legal_hold", "list")["holds"]] == [second["hold"], first["hold"]]
    number = str(second["hold"])
    assert manage_json("legal_hold", "change", number, "--without-end")["ends_at"] is None
    released = manage_json("legal_hold", "release", number, "--by", "ada")
    assert (released["released_by"], released["is_in_force"]) == ("ada", False)
    assert len(manage_json("legal_hold", "list")["holds"]) == 1
    assert len(manage_json("legal_hold", "list", "--all")["holds"]) == 2
    assert "file 12" in manage("legal_hold", "list")
    for refused in (("release", number), ("change", number, "--without-end"), ("release", "999")):
        with pytest.raises(CommandError) as failure:
            manage("legal_hold", *refused)
        assert failure.value.returncode == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("place", "--user", "nobody@example.com", "--reason", "x"), 2),
        (("place", "--user", str(uuid4()), "--reason", "x"), 2),
        (("place", "--conversation", str(uuid4()), "--reason", "x"), 3),
        (("place", "--conversation", str(uuid4()), "--reason", " "), 2),
    ],
    ids=["unknown address", "unknown user", "unknown conversation", "no reason"],
)
def test_what_can_not_be_held_is_refused(manage: Manage, arguments: tuple[str, ...], code: int) -> None:
    with pytest.raises(CommandError) as failure:
        manage("legal_hold", *arguments)
    assert failure.value.returncode == code
    assert not LegalHold.objects.exists()


@pytest.mark.parametrize("until", ["2001-01-31", "soon", "5d"])
def test_an_end_is_a_date_to_come(manage: Manage, until: str) -> None:
    kept = make_conversation()
    with pytest.raises(CommandError):
        manage("legal_hold", "place", "--conversation", str(kept.id), "--reason", "x", "--until", until)
    assert json.loads(manage("legal_hold", "list", "--json")) == {"holds": []}


# Modules that delete rows, and why what is on hold is safe from them. A new one must be given its reason here.
DELETES = {
    "querysets": "leaves out what is on hold",
    "services/bulk": "leaves out what is on hold",
    "services/conversations": "refuses, and leaves out what is on hold",
    "services/sessions": "refuses",
    "services/instructions": "refuses",
    "surfaces/openai/deleting": "refuses",
    "surfaces/openai/repeats": "notes of requests, in the cache",
    "services/history/delete": "of those that call it, prune leaves out what is on hold, erase and cells refuse",
    "services/history/erase": "refuses",
    "services/history/move": "refuses",
    "services/history/cells": "refuses",
    "services/history/user_tables": "of those that use it, erase, move and cells, all refuse",
    "services/history/pruning/records": "leaves out what is on hold",
    "services/changes/keeping": "what /api/changes tells, which is no history",
    "services/replies/leases": "workers",
    "services/replies/early_stops": "stops of chats that do not exist yet",
    "services/replies/queued_rows": "messages that wait, which were never said",
    "services/sending/queue": "messages that wait, which were never said",
    "services/sending/queued_turns": "messages that wait, which were never said",
    "services/sending/queue_keeper": "messages that wait, which were never said",
    "services/sending/creation_keys": "keys of the last day",
    "services/history/exports/export_holds": "running exports",
    "services/usage/refused_requests": "how often a user was refused, which is no history",
    "services/webhooks/outbox": "what is told to other services, which is no history",
    "management/setup_checks": "a key in the cache",
}
COMMANDS = {
    "prune_history": "tested above",
    "prune_records": "tested above",
    "erase_user": "tested above",
    "move_history": "tested above",
    "legal_hold": "deletes nothing",
    "check_setup": "deletes nothing",
    "correct_activity": "deletes nothing",
    "count_usage": "deletes nothing",
    "deliver_webhooks": "webhooks are no history",
    "export_history": "deletes nothing",
    "import_history": "inserts only",
    "migrate": "the triggers refuse what a migration deletes",
    "seed_demo": "inserts only",
    "scrub_archive": "refuses (test_scrub_archive)",
    "user_report": "deletes nothing",
}


def test_every_module_that_deletes_is_known() -> None:
    folder = Path(conversations.__file__).parent
    deleting = re.compile(r"\bDELETE FROM (?!workers)|\.delete\(|_raw_delete|\bTRUNCATE\b|\bDelete\(")
    found = {
        str(path.relative_to(folder).with_suffix(""))
        for path in folder.rglob("*.py")
        if not {"tests", "migrations", "sign_in"} & set(path.parts) and deleting.search(path.read_text())
    }
    assert found - {"prepared_statements"} <= DELETES.keys(), "what it deletes must spare what is on hold"
    commands = {path.stem for path in (folder / "management" / "commands").glob("*.py")} - {"__init__"}
    assert commands <= COMMANDS.keys(), "what it deletes must spare what is on hold"
