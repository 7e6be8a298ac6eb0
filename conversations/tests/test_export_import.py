"""`manage.py export_history` and `manage.py import_history`."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from conversations.management.interruption import Interruption
from conversations.models import Assistant, Conversation, Message
from conversations.services.history.files import reading
from conversations.services.history.files.json_lines import TABLES, column_names
from conversations.tags import tag_columns
from conversations.tests.conftest import remaining
from conversations.tests.factories import days_ago, make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]
AWKWARD = 'quotes " and \\ backslashes,\ttabs\r\nlines, \u2028, 𝒜 and \\N\n\\.\n'


def fill(manage: Manage) -> None:
    """Make demonstration rows, and some that are hard to write down."""
    manage("seed_demo", "--users=3", "--conversations=40", "--messages=400")
    assistant = Assistant.objects.create(name="Tutor")
    hard = make_old_conversation(
        title=AWKWARD,
        session_id="s-1",
        assistant=assistant,
        title_source="user",
        is_favorited=True,
        expires_at=days_ago(-9),
        is_archived=True,
        **tag_columns(['Tea, "x"', "茶", "{a}"]),
    )
    Message.objects.filter(conversation=hard, role="assistant").update(
        content=AWKWARD,
        reasoning=AWKWARD,
        context={"messages": 3, "nested": {"text": AWKWARD, "number": 1.10}},
        feedback=-1,
        feedback_comment=AWKWARD,
        idempotency_key="key",
        request_fingerprint="f" * 64,
        is_active=False,
        stop_requested=True,
        heartbeat_at=days_ago(3),
    )
    make_old_conversation(age_days=None, title=None, model_tag=None, messages=3)
    anonymous = make_old_conversation(age_days=None, messages=0)
    Conversation.objects.filter(id=anonymous.id).update(user_id=None)


def everything() -> list[Any]:
    with connection.cursor() as cursor:
        rows = []
        for table in TABLES.values():
            cursor.execute(f"SELECT row::text FROM {table} AS row ORDER BY id")
            rows += cursor.fetchall()
    return rows


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
@pytest.mark.parametrize("batch_size", ["1", "7", "1000"])
def test_pruning_is_undone_to_the_byte(manage: Manage, tmp_path: Path, suffix: str, batch_size: str) -> None:
    first, archive, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "archive", "second"))
    fill(manage)
    before = everything()
    manage("export_history", str(first), "--all", "--batch-size", batch_size)
    prune = ("prune_history", "--yes", "--include-favorites", "--archive", str(archive), "--batch-size", batch_size)
    for user_id in {*Conversation.objects.values_list("user_id", flat=True)}:
        manage(*prune, *(["--user", str(user_id)] if user_id else ["--anonymous"]))
    assert not remaining()
    manage("import_history", str(archive), "--batch-size", batch_size)
    assert everything() == before
    manage("export_history", str(second), "--all", "--batch-size", "13")
    assert second.read_bytes() == first.read_bytes()


def test_line_ends_inside_a_value_break_no_line(manage: Manage, tmp_path: Path) -> None:
    """PostgreSQL keeps the spaces of a column of the type `json`, which other software may have added."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE conversations ADD COLUMN added json")
        conversation = make_old_conversation(age_days=1, messages=1)
        cursor.execute("UPDATE conversations SET added = %s", ['{\n\t"path":\r\n"C:\\\\new\\n"}'])
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    _, first, second, _ = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
    assert first["conversation"]["added"] == {"path": "C:\\new\n"}
    assert second["message"]["conversation_id"] == str(conversation.id)


def test_importing_again_changes_nothing(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    fill(manage)
    file = str(tmp_path / "all.jsonl.gz")
    manage("export_history", file, "--all")
    Conversation.objects.filter(is_favorited=True).update(title="renamed since")
    before = everything()
    summary = manage_json("import_history", file)
    assert everything() == before
    assert summary["conversations"] == {"inserted": 0, "present": 43, "left_out": 0}
    assert summary["messages"]["inserted"] == 0


def test_what_a_file_has_twice_is_put_back_once(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    """As an archive has it, if a run was killed after it had written a batch and before it had deleted it."""
    make_old_conversation(messages=3)
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    before = everything()
    Message.objects.all().delete()
    Conversation.objects.all().delete()
    file.write_bytes(2 * file.read_bytes())
    summary = manage_json("import_history", str(file))
    assert everything() == before
    assert summary["conversations"] == {"inserted": 1, "present": 1, "left_out": 0}
    assert summary["messages"] == {"inserted": 3, "present": 3, "left_out": 0}


def test_every_column_is_in_a_line(manage: Manage, tmp_path: Path) -> None:
    make_old_conversation(messages=1)
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    lines = [json.loads(line) for line in file.read_bytes().splitlines()[1:-1]]
    assert [list(line[kind]) for line, kind in zip(lines, TABLES, strict=True)] == [column_names(kind) for kind in TABLES]
    for model, kind in ((Conversation, "conversation"), (Message, "message")):
        assert {field.column for field in model._meta.concrete_fields} <= set(column_names(kind))


def test_an_export_takes_a_user_or_a_period(manage_json: Manage, tmp_path: Path) -> None:
    user = uuid4()
    make_old_conversation(user_id=user, age_days=100)
    make_old_conversation(user_id=user, age_days=10)
    make_old_conversation(age_days=50)
    make_old_conversation(age_days=None)
    file = str(tmp_path / "some.jsonl")
    for arguments, found in (
        (["--user", str(user)], 2),
        (["--since", "60d"], 2),
        (["--until", "60d"], 1),
        (["--since", "60d", "--until", "30d"], 1),
        (["--user", str(user), "--since", "60d"], 1),
        (["--all"], 4),
    ):
        assert manage_json("export_history", file, *arguments)["conversations"] == found


@pytest.mark.parametrize("arguments", [[], ["--all", "--since", "1d"], ["--anonymous", "--user", str(uuid4())]])
def test_an_export_must_say_what(manage: Manage, tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(CommandError) as refusal:
        manage("export_history", str(tmp_path / "x.jsonl"), *arguments)
    assert refusal.value.returncode == 2
    assert not list(tmp_path.iterdir())


def test_an_export_that_breaks_leaves_no_file(manage: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old_conversation()

    def fail(_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("conversations.services.history.exports.export.history_lines", fail)
    with pytest.raises(CommandError, match="disk full"):
        manage("export_history", str(tmp_path / "x.jsonl.gz"), "--all")
    assert not list(tmp_path.iterdir())


def test_an_export_is_for_its_owner_alone(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    assert file.stat().st_mode & 0o777 == 0o600


def test_markdown_reads_like_a_conversation(manage: Manage, tmp_path: Path) -> None:
    conversation = make_old_conversation(title="Bread\nand butter", last_status="stopped")
    Message.objects.create(conversation=conversation, role="assistant", content="an older version", is_active=False)
    conversation.messages.filter(content="message 1").update(reasoning="a thought")
    make_old_conversation(title=None, age_days=None, messages=1)
    file = tmp_path / "all.md"
    manage("export_history", str(file), "--all")
    text = file.read_text()
    assert text.startswith("# New conversation\n")
    assert "# Bread and butter\n" in text
    assert "(stopped)\n\n<details><summary>Reasoning</summary>\n\na thought\n\n</details>\n\nmessage 1\n" in text
    assert text.count("<details>") == 1
    assert "older version" not in text
    assert "time unknown" in text


def test_markdown_says_which_answer_a_client_brought(manage: Manage, tmp_path: Path) -> None:
    conversation = make_old_conversation(messages=2)
    conversation.messages.filter(role="assistant").update(source="client")
    file = tmp_path / "all.md"
    manage("export_history", str(file), "--all")
    assert file.read_text().count("(brought by the client)\n") == 1


def test_markdown_passes_over_json_that_is_nested_too_deeply(manage: Manage, tmp_path: Path) -> None:
    conversation = make_old_conversation(messages=2)
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    with connection.cursor() as cursor:
        cursor.execute("UPDATE messages SET context = %s, request_options = %s", [deep, deep])
        cursor.execute("UPDATE conversations SET metadata = %s", [deep])
    file = tmp_path / "all.md"
    manage("export_history", str(file), "--all")
    assert "message 1" in file.read_text()
    assert conversation.title is None or conversation.title in file.read_text()


def test_what_can_not_come_back_is_left_out_and_counted(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    user = uuid4()
    begun_anew = make_old_conversation(user_id=user, session_id="s", messages=3)
    assistant = Assistant.objects.create(name="Gone")
    orphaned = make_old_conversation(assistant=assistant)
    running = make_old_conversation(last_status="streaming")
    file = str(tmp_path / "all.jsonl")
    manage("export_history", file, "--all")
    Message.objects.all().delete()
    Conversation.objects.all().delete()
    assistant.delete()
    make_old_conversation(user_id=user, session_id="s", messages=0)
    summary = manage_json("import_history", file)
    assert summary["conversations"] == {"inserted": 2, "present": 0, "left_out": 1}
    assert summary["messages"] == {"inserted": 4, "present": 0, "left_out": 3}
    assert begun_anew.id not in remaining()
    assert Conversation.objects.get(id=orphaned.id).assistant_id is None
    assert set(Message.objects.filter(conversation=running).values_list("status", flat=True)) == {"complete", "interrupted"}


def test_a_row_of_an_older_export_gets_the_defaults(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    conversation_id, message_id = uuid4(), uuid4()
    lines = [
        {"conversation": {"id": str(conversation_id), "user_id": str(uuid4()), "title": "t"}},
        {"message": {"id": str(message_id), "conversation_id": str(conversation_id), "role": "user", "content": "c"}},
    ]
    file.write_text("".join(json.dumps(line, indent=None) + "\n" for line in lines))
    manage("import_history", str(file))
    message = Message.objects.get(id=message_id)
    assert (message.status, message.is_active) == ("complete", True)


@pytest.mark.parametrize(
    "line",
    [
        b"secret words\n",
        b'{"secret": {}}\n',
        b'{"message": []}\n',
        b'{"message": {"secret_column": 1}}\n',
        b'{"conversation": {"id": "secret words"}}\n',
        b'{"conversation": {"title": null, "is_favorited": null}}\n',
    ],
)
def test_a_foreign_line_is_refused_without_being_quoted(manage: Manage, tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "foreign.jsonl"
    file.write_bytes(line)
    with pytest.raises(CommandError) as refusal:
        manage("import_history", str(file))
    assert "secret words" not in str(refusal.value)
    assert not remaining()


def test_a_refusal_shows_no_control_characters(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "foreign.jsonl"
    names = {f"\x1b]0;owned\x07\u202e{number}": 1 for number in range(100)}
    file.write_text(json.dumps({"message": names}) + "\n")
    with pytest.raises(CommandError, match="columns that are not in this database") as refusal:
        manage("import_history", str(file))
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_line_without_end_is_refused_before_it_is_in_memory(manage: Manage, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"bomb.{suffix}"
    line = b'{"message": {"content": "' + bytes(reading.MAX_LINE_BYTES) + b'"}}\n'
    file.write_bytes(gzip.compress(line) if suffix.endswith("gz") else line)
    with pytest.raises(CommandError, match="line 1 is longer than 16 MiB"):
        manage("import_history", str(file))


def test_a_torn_end_is_reported_and_the_rest_imported(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    make_old_conversation(messages=2)
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    Message.objects.all().delete()
    Conversation.objects.all().delete()
    lines = file.read_bytes().splitlines(keepends=True)[1:-1]
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(b"".join(lines[:2])) + gzip.compress(lines[2])[:-4])
    with pytest.raises(CommandError, match="ends before its end"):
        manage("import_history", str(torn))
    assert not remaining()
    summary = manage_json("import_history", str(torn), "--accept-damaged")
    assert (summary["is_torn"], summary["condition"]) == (True, "cut")
    assert summary["conversations"]["inserted"] == 1
    assert summary["messages"]["inserted"] >= 1


def test_a_file_that_is_not_there_is_an_error(manage: Manage, tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        manage("import_history", str(tmp_path / "nowhere.jsonl"))


def test_an_export_from_before_there_was_reasoning_is_imported(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    conversation = make_old_conversation()
    manage("export_history", str(file), "--all")
    rows = [json.loads(line) for line in file.read_text().splitlines()[1:-1]]
    for row in rows:
        row.get("message", {}).pop("reasoning", None)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    conversation.messages.all().delete()
    manage("import_history", str(file))
    assert set(conversation.messages.values_list("reasoning", flat=True)) == {""}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("history.csv", "--all"), "names no format"),
        (("missing/history.jsonl", "--all"), "no folder"),
        (("history.jsonl", "--since=2026-03-01", "--until=2026-02-01"), "not before"),
    ],
)
def test_an_export_that_cannot_be_meant_is_refused(manage: Any, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said) as failure:
        manage("export_history", str(tmp_path / arguments[0]), *arguments[1:])
    assert failure.value.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_adds_nothing_to_another_users_conversation(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    theirs, own, missing = (make_old_conversation(messages=1) for _ in range(3))
    file = tmp_path / "changed.jsonl"
    lines: list[Any] = [
        {"conversation": {"id": str(theirs.id), "user_id": str(own.user_id)}},
        {"conversation": {"id": str(own.id), "user_id": str(own.user_id)}},
    ]
    for conversation in (theirs, own, missing):
        row = {"id": str(uuid4()), "conversation_id": str(conversation.id), "role": "user", "content": "put there"}
        lines.append({"message": row})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for batch_size in ("1", "1000"):
        Message.objects.filter(content="put there").delete()
        summary = manage_json("import_history", str(file), "--batch-size", batch_size)
        assert summary["messages"] == {"inserted": 1, "present": 0, "left_out": 2}
        assert Message.objects.get(content="put there").conversation_id == own.id


def test_erased_users_stay_away_unless_they_are_asked_for(
    manage: Manage, manage_json: Manage, tmp_path: Path, settings: Any
) -> None:
    erased, kept = make_old_conversation(), make_old_conversation()
    file = str(tmp_path / "all.jsonl")
    manage("export_history", file, "--all")
    manage("erase_user", str(erased.user_id), "--yes")
    # The tombstone's key is an earlier one now.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [settings.SECRET_KEY]
    summary = manage_json("import_history", file)
    assert (summary["erased_users"], remaining()) == (1, {kept.id})
    assert (summary["conversations"]["left_out"], summary["messages"]["left_out"]) == (1, 2)
    assert "1 erased user was left out" in manage("import_history", file)
    assert manage_json("import_history", file, "--include-erased")["erased_users"] == 0
    assert remaining() == {kept.id, erased.id}


def test_no_character_of_a_text_splits_a_line_for_any_reader(manage: Manage, tmp_path: Path) -> None:
    """Readers such as `str.splitlines` also split at U+0085, U+2028 and U+2029."""
    text = "one\u2028two\u2029three\u0085four"
    conversation = make_old_conversation(title=text, messages=1)
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [next(iter(line)) for line in lines] == ["archive", "conversation", "message", "end"]
    Conversation.objects.all().delete()
    manage("import_history", str(file))
    assert Conversation.objects.get(id=conversation.id).title == text


def test_stopped_while_it_checks_the_file_it_says_so(
    manage: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_old_conversation(messages=2)
    archive = tmp_path / "history.jsonl"
    manage("export_history", str(archive), "--all")
    monkeypatch.setattr(Interruption, "__call__", lambda self: True)
    with pytest.raises(SystemExit):
        call_command("import_history", str(archive))
    assert "Nothing was imported" in capsys.readouterr().err
