"""Exports and archives show that they are whole: `import_history` refuses cut and changed files, and `--verify` names them."""

import gzip
import io
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection, transaction

from conversations.models import Conversation, Message
from conversations.services.history.imports.importing import import_history
from conversations.tests.conftest import remaining
from conversations.tests.factories import make_old_conversation
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]
PRUNE = ("prune_history", "--older-than", "90d", "--yes", "--batch-size", "1", "--archive")


def prune(manage: Manage, archive: Path, conversations: int = 3) -> None:
    for age in range(conversations):
        make_old_conversation(age_days=100 + age)
    manage(*PRUNE, str(archive))
    assert not remaining()


def refusal(manage: Manage, *arguments: str) -> CommandError:
    with pytest.raises(CommandError) as failure:
        manage("import_history", *arguments)
    return failure.value


def lines_of(file: Path) -> list[bytes]:
    content = file.read_bytes()
    return (gzip.decompress(content) if file.suffix == ".gz" else content).splitlines(keepends=True)


def forget_everything() -> None:
    Message.objects.all().delete()
    Conversation.objects.all().delete()


@pytest.mark.parametrize("suffix", ["jsonl", pytest.param("jsonl.gz", marks=pytest.mark.slow)])
def test_no_cut_goes_unnoticed(manage: Manage, tmp_path: Path, suffix: str) -> None:
    archive, cut = tmp_path / f"pruned.{suffix}", tmp_path / f"cut.{suffix}"
    prune(manage, archive)
    content = archive.read_bytes()
    # Each batch is a member, so these cuts also hit the ends of members and lines.
    for length in range(len(content) if suffix == "jsonl.gz" else 0, -1, -1):
        cut.write_bytes(content[:length])
        if length < len(content):
            assert "ends before its end" in str(refusal(manage, str(cut))) or content[:length].endswith(b"\x1f"), length
            assert refusal(manage, str(cut), "--verify").returncode == 1
    for end in range(len(lines_of(archive))):
        cut.write_bytes(b"".join(lines_of(archive)[:end]))
        assert "ends before its end" in str(refusal(manage, str(cut)))
    assert not remaining()
    manage("import_history", str(cut), "--accept-damaged")
    assert len(remaining()) == 3


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_cut_export_is_noticed(manage: Manage, tmp_path: Path, suffix: str) -> None:
    make_old_conversation(messages=3)
    file, cut = tmp_path / f"all.{suffix}", tmp_path / "cut.jsonl"
    manage("export_history", str(file), "--all")
    assert "1 conversations, 3 messages" in manage("import_history", str(file), "--verify")
    for end in range(len(lines_of(file))):
        cut.write_bytes(b"".join(lines_of(file)[:end]))
        assert "ends before its end" in str(refusal(manage, str(cut), "--verify"))


def test_a_changed_file_is_refused(manage: Manage, tmp_path: Path) -> None:
    archive, changed = tmp_path / "pruned.jsonl", tmp_path / "changed.jsonl"
    prune(manage, archive)
    lines = lines_of(archive)
    for altered in (
        [line.replace(b"message 1", b"message 9") for line in lines],
        [*lines[:2], *lines[3:]],
        [*lines[:2], *lines[1:]],
        lines[1:],
    ):
        changed.write_bytes(b"".join(altered))
        assert "was changed or is damaged" in str(refusal(manage, str(changed)))
        assert refusal(manage, str(changed), "--verify").returncode == 1
        assert not remaining()


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_an_archive_of_several_runs_has_one_end(manage: Manage, tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"pruned.{suffix}"
    prune(manage, archive, conversations=2)
    first = archive.read_bytes()
    prune(manage, archive, conversations=2)
    manage(*PRUNE, str(archive))
    kinds = [next(iter(json.loads(line))) for line in lines_of(archive)]
    assert (kinds.count("archive"), kinds.count("conversation"), kinds.count("end")) == (1, 4, 1)
    assert "4 conversations" in manage("import_history", str(archive), "--verify")
    archive.write_bytes(archive.read_bytes()[: len(first)])
    assert refusal(manage, str(archive)).returncode == 1


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_what_a_killed_run_left_is_continued(manage: Manage, tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"pruned.{suffix}"
    prune(manage, archive)
    without_end = b"".join(lines_of(archive)[:-1])
    archive.write_bytes(gzip.compress(without_end) if suffix == "jsonl.gz" else without_end)
    refusal(manage, str(archive), "--verify")
    prune(manage, archive)
    assert "6 conversations" in manage("import_history", str(archive), "--verify")


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_archives_of_older_versions_are_imported_and_continued(
    manage: Manage, manage_json: Manage, tmp_path: Path, suffix: str
) -> None:
    archive = tmp_path / f"pruned.{suffix}"
    prune(manage, archive)
    rows = b"".join(lines_of(archive)[1:-1])
    archive.write_bytes(gzip.compress(rows) if suffix == "jsonl.gz" else rows)
    assert refusal(manage, str(archive), "--verify").returncode == 3
    assert manage_json("import_history", str(archive))["conversations"]["inserted"] == 3
    forget_everything()
    prune(manage, archive)
    assert manage_json("import_history", str(archive))["conversations"]["inserted"] == 6
    # What this version added can't be cut off unnoticed.
    archive.write_bytes(b"".join(lines_of(archive)[:-1]))
    assert "ends before its end" in str(refusal(manage, str(archive)))


def test_a_changed_archive_is_not_continued(manage: Manage, tmp_path: Path) -> None:
    archive = tmp_path / "pruned.jsonl"
    prune(manage, archive)
    changed = archive.read_bytes().replace(b"message 1", b"message 9")
    archive.write_bytes(changed)
    make_old_conversation()
    with pytest.raises(CommandError, match="use another name"):
        manage(*PRUNE, str(archive))
    assert (archive.read_bytes(), len(remaining())) == (changed, 1)


def test_joined_archives_are_whole(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    first, second, joined = (tmp_path / f"{name}.jsonl.gz" for name in ("first", "second", "joined"))
    prune(manage, first)
    prune(manage, second)
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert manage_json("import_history", str(joined), "--verify")["condition"] == "whole"
    assert manage_json("import_history", str(joined))["conversations"]["inserted"] == 6


def test_files_of_newer_versions_are_refused(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "newer.jsonl"
    file.write_text('{"archive":{"version":2}}\n')
    assert "a newer version" in str(refusal(manage, str(file)))
    make_old_conversation()
    with pytest.raises(CommandError, match="a newer version"):
        manage(*PRUNE, str(file))
    assert len(remaining()) == 1


@pytest.mark.parametrize("is_compressed", [False, True])
def test_standard_input_is_imported_and_its_cut_noticed(
    manage: Manage, manage_json: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compressed: bool
) -> None:
    archive = tmp_path / "pruned.jsonl.gz"
    prune(manage, archive)
    lines = lines_of(archive)

    def stream(content: bytes) -> None:
        packed = gzip.compress(content) if is_compressed else content
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(packed))))

    stream(b"".join(lines[:-1]))
    assert "were imported" in str(refusal(manage, "-"))
    stream(b"".join(lines))
    assert manage_json("import_history", "-")["conversations"] == {"inserted": 0, "present": 3, "left_out": 0}
    stream(b"".join(lines[:-1]))
    assert refusal(manage, "-", "--verify").returncode == 1
    stream(b"")
    assert refusal(manage, "-").returncode == 1


def test_a_dry_run_counts_like_the_import_and_changes_nothing(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    file = str(tmp_path / "all.jsonl")
    begun_anew = make_old_conversation(session_id="s", messages=3)
    erased, kept, back, shared = (make_old_conversation(messages=4) for _ in range(4))
    Conversation.objects.filter(id=shared.id).update(user_id=None, session_id="shared")
    manage("export_history", file, "--all")
    manage("erase_user", str(erased.user_id), "--yes")
    Message.objects.exclude(conversation_id=kept.id).delete()
    Conversation.objects.exclude(id=kept.id).delete()
    make_old_conversation(user_id=begun_anew.user_id, session_id="s", messages=0)
    kept.messages.first().delete()
    before = remaining()
    for batch_size in ("1", "1000"):
        previewed = manage_json("import_history", file, "--dry-run", "--batch-size", batch_size)
        assert previewed.pop("is_dry_run")
        assert (remaining(), Message.objects.count()) == (before, 3)
        assert "would be restored" in manage("import_history", file, "--dry-run")
    restored = manage_json("import_history", file)
    assert not restored.pop("is_dry_run")
    assert previewed == restored
    assert restored["conversations"] == {"inserted": 2, "present": 1, "left_out": 2}
    assert restored["messages"] == {"inserted": 9, "present": 3, "left_out": 7}
    assert remaining() == before | {back.id, shared.id}


def test_an_import_takes_one_user(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    file = str(tmp_path / "all.jsonl")
    wanted, other = make_old_conversation(messages=3), make_old_conversation(messages=2)
    manage("export_history", file, "--all")
    forget_everything()
    for batch_size in ("1", "1000"):
        for arguments in (["--dry-run"], []):
            summary = manage_json("import_history", file, "--user", str(wanted.user_id), "--batch-size", batch_size, *arguments)
            assert summary["conversations"] == {"inserted": 1, "present": 0, "left_out": 0}
            assert summary["messages"] == {"inserted": 3, "present": 0, "left_out": 0}
        assert remaining() == {wanted.id}
        forget_everything()
    assert other.id != wanted.id


@pytest.mark.parametrize("added", ["--dry-run", "--accept-damaged", "--user=11111111-1111-4111-8111-111111111111"])
def test_verifying_goes_with_nothing_else(manage: Manage, tmp_path: Path, added: str) -> None:
    assert refusal(manage, str(tmp_path / "x.jsonl"), "--verify", added).returncode == 2


@pytest.mark.django_db(transaction=True)
def test_rows_that_another_import_inserts_meanwhile_are_present(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    make_old_conversation(messages=3)
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    forget_everything()
    has_inserted = threading.Event()

    def waits_for_us() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))")
            return bool(cursor.fetchone()[0])

    def import_slowly() -> None:
        try:
            with transaction.atomic(), file.open("rb") as source:
                import_history(source=source)
                has_inserted.set()
                wait_until(waits_for_us, "the other import waits")
        finally:
            connection.close()

    other = threading.Thread(target=import_slowly)
    other.start()
    assert has_inserted.wait(30)
    summary = manage_json("import_history", str(file))
    other.join(30)
    assert summary["conversations"] == {"inserted": 0, "present": 1, "left_out": 0}
    assert summary["messages"] == {"inserted": 0, "present": 3, "left_out": 0}
