"""`manage.py export_history --user USER --everything`: one archive with all that is stored about a person."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError

from conversations.models import (
    ChatUser,
    Conversation,
    Message,
    RefusedRequests,
    StaffAccess,
    UsageTotal,
    UserInstructions,
    UserQuota,
)
from conversations.services.history.exports import personal_data
from conversations.services.history.exports.field_notes import FIELDS, LEFT_OUT
from conversations.services.history.files.json_lines import COLUMNS_SQL
from conversations.services.history.user_tables import USER_TABLES
from conversations.tests.factories import NOW, USER_ID, make_conversation, make_message, make_old_conversation, make_reply

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]
NAMES = {"README.txt", "fields.json", "index.html", "history.jsonl", *(f"{name}.jsonl" for name in personal_data.TABLES)}


@pytest.fixture
def archive(manage: Manage, tmp_path: Path) -> zipfile.ZipFile:
    ChatUser.objects.create(id=USER_ID, email="mira@example.com", name='Mira "M"\n')
    conversation = make_conversation(title="<b>Onions</b>", tags=["soup"], tag_keys=["soup"])
    asked = make_message(conversation, "<script>alert(1)</script> é \\ \u2028")
    make_reply(asked, "the older answer", is_active=False)
    make_reply(asked, "the newer answer", feedback=-1, feedback_comment="too <salty>", reasoning="hm")
    make_old_conversation(user_id=USER_ID, deleted_at=NOW, expires_at=NOW)
    make_old_conversation()
    for user in (USER_ID, uuid4()):
        UsageTotal.objects.create(user_id=user, bucket=NOW.replace(minute=0, second=0, microsecond=0), tokens=40)
        RefusedRequests.objects.create(user_id=user, day=NOW.date(), limited=3)
        UserQuota.objects.create(user_id=user, tokens_day=100)
        UserInstructions.objects.create(user_id=user, text="be brief")
        StaffAccess.objects.create(
            staff_name="sue", kind="read", conversation_id=conversation.id, user_id=user, address="10.1.2.3", reason="ticket 7"
        )
    path = tmp_path / "mira.zip"
    manage("export_history", str(path), "--user", "Mira@example.com", "--everything")
    assert path.stat().st_mode & 0o777 == 0o600
    return zipfile.ZipFile(path)


def rows(archive: zipfile.ZipFile, table: str) -> list[Any]:
    return [json.loads(line) for line in archive.read(f"{table}.jsonl").splitlines()]


def test_it_has_everything_of_the_person_and_nothing_of_others(archive: zipfile.ZipFile) -> None:
    assert set(archive.namelist()) == NAMES and archive.testzip() is None
    assert rows(archive, "chat_users")[0]["name"] == 'Mira "M"\n'
    for table in personal_data.TABLES:
        (row,) = rows(archive, table)
        assert row.get("user_id", row.get("id")) == str(USER_ID)
    assert rows(archive, "staff_access")[0]["reason"] == "ticket 7"
    assert "10.1.2.3" not in archive.read("staff_access.jsonl").decode()
    history = rows(archive, "history")
    assert sum("conversation" in row for row in history) == 2, "also what is in the trash"
    assert sum("message" in row for row in history) == 5, "all versions"
    assert str(USER_ID) in archive.read("README.txt").decode()


def test_the_page_can_be_read_and_runs_nothing(archive: zipfile.ZipFile) -> None:
    page = archive.read("index.html").decode()
    for text in (
        "What is stored about mira@example.com",
        "the older answer",
        "the newer answer",
        "another version",
        "rated bad",
        "too &lt;salty&gt;",
    ):
        assert text in page
    assert "<script" not in page and "<b>" not in page
    assert "http" not in page.replace("html", ""), "nothing is fetched"


def test_the_history_can_be_imported(archive: zipfile.ZipFile, manage_json: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl.gz"
    path.write_bytes(gzip.compress(archive.read("history.jsonl")))
    before = set(Message.objects.filter(conversation__user_id=USER_ID).values_list("id", "content"))
    Conversation.objects.owned_by(USER_ID).delete()
    assert manage_json("import_history", str(path))["condition"] == "whole"
    assert set(Message.objects.filter(conversation__user_id=USER_ID).values_list("id", "content")) == before


def test_each_field_is_described(archive: zipfile.ZipFile) -> None:
    from django.db import connection

    assert {table.name for table in USER_TABLES if table.is_exported} | {"messages"} == FIELDS.keys()
    described = json.loads(archive.read("fields.json"))
    for table, notes in FIELDS.items():
        with connection.cursor() as cursor:
            cursor.execute(COLUMNS_SQL, [table])
            columns = {name for (name,) in cursor.fetchall()} - LEFT_OUT.get(table, frozenset())
        assert columns == notes.keys(), f"{table}: each column needs a sentence"
        assert described[table] == {name: notes[name] for name in described[table]}
    for table in personal_data.TABLES:
        assert set(rows(archive, table)[0]) == FIELDS[table].keys()


def test_rows_are_written_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of rows, none but a batch is held: what is written grows while the rows are read."""
    monkeypatch.setattr(personal_data, "BATCH", 1)
    for _ in range(4):
        make_old_conversation(user_id=USER_ID, messages=6)
    target = io.BytesIO()
    result = personal_data.export_everything(target=target, user_id=USER_ID)
    assert (result.conversations, result.messages, result.is_complete) == (4, 24, True)
    assert zipfile.ZipFile(target).read("index.html").count(b'class="m ') == 24


def test_stopped_early_there_is_no_file(manage: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ChatUser.objects.create(id=USER_ID)
    result = personal_data.export_everything(target=io.BytesIO(), user_id=USER_ID, should_stop=lambda: True)
    assert not result.is_complete
    monkeypatch.setattr(personal_data, "_write_page", lambda *arguments: False)
    with pytest.raises(SystemExit):
        manage("export_history", str(tmp_path / "mira.zip"), "--user", str(USER_ID), "--everything")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("mira.zip", "--everything"),
        ("mira.zip", "--everything", "--all"),
        ("mira.jsonl", "--everything", "--user", str(USER_ID)),
        ("mira.zip", "--everything", "--user", str(USER_ID), "--since", "90d"),
        ("mira.zip", "--everything", "--user", "nobody@example.com"),
    ],
    ids=["nobody", "all", "no zip", "a period", "unknown"],
)
def test_wrong_arguments_are_refused(manage: Manage, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    name, *others = arguments
    with pytest.raises(CommandError) as failure:
        manage("export_history", str(tmp_path / name), *others)
    assert failure.value.returncode == 2
    assert not list(tmp_path.iterdir())
