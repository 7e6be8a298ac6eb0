"""Commands that write a file while the disk fills up: no lock stays, and nothing is deleted that is not archived."""

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from conversations.services.history.files.archive_file import ArchiveFile
from conversations.services.history.pruning import prune
from conversations.tests.conftest import remaining
from conversations.tests.factories import days_ago, make_message, make_old_conversation
from conversations.tests.test_prune_processes import seed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
Manage = Callable[..., Any]
Spawn = Callable[..., "subprocess.Popen[str]"]
END_S = 60


def open_transactions() -> int:
    """How many other sessions have begun a transaction in this database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
        return int(cursor.fetchone()[0])


def fails(process: "subprocess.Popen[str]") -> str:
    """Wait for a command that must fail; return what it said on standard error, without its progress."""
    _, said = process.communicate(timeout=END_S)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["pruned.jsonl", "pruned.jsonl.gz"])
def test_an_archive_that_the_disk_cannot_hold_deletes_nothing_that_it_lacks(
    manage: Manage, spawn: Spawn, tmp_path: Path, name: str
) -> None:
    seed(manage)
    before = remaining()
    archive = tmp_path / name
    process = spawn("prune_history", "--older-than=2026-06-01", "--yes", f"--archive={archive}", file_limit=128 * 1024)
    said = fails(process)
    assert said.startswith("CommandError: Cannot write the archive: [Errno 27]")
    assert "run the command again" in said
    assert open_transactions() == 0
    deleted = before - remaining()
    assert deleted != before
    # What is in the archive can be read, and has everything that was deleted.
    manage("import_history", str(archive))
    assert remaining() == before


@pytest.mark.parametrize("name", ["pruned.jsonl", "pruned.jsonl.gz"])
def test_a_disk_that_is_full_while_rows_still_come_ends_the_command(spawn: Spawn, tmp_path: Path, name: str) -> None:
    chance = random.Random(7)
    for _ in range(12):
        conversation = make_old_conversation()
        make_message(conversation, chance.randbytes(200_000).hex(), created_at=conversation.created_at)
    before = remaining()
    # The archive writes after each MiB: the database still has most of the rows to send.
    process = spawn("prune_history", "--older-than=30d", "--yes", f"--archive={tmp_path / name}", file_limit=64 * 1024)
    assert fails(process).startswith("CommandError: Cannot write the archive: [Errno 27]")
    assert (open_transactions(), remaining()) == (0, before)


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_batch_that_breaks_off_lets_go_of_its_rows_before_the_rollback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: type[BaseException]
) -> None:
    """While a COPY has rows to send, the connection takes no ROLLBACK. The traceback keeps its generator alive."""
    make_old_conversation()
    ends: list[str] = []

    def lines(_: Any) -> Iterator[bytes]:
        try:
            yield b"{}\n"
            yield b"{}\n"
        finally:
            ends.append("closed")

    def write(self: ArchiveFile, pieces: Iterator[bytes]) -> None:
        next(pieces)
        raise failure

    monkeypatch.setattr(prune, "history_lines", lines)
    with ArchiveFile(tmp_path / "pruned.jsonl") as archive:
        monkeypatch.setattr(ArchiveFile, "_write", write)
        with pytest.raises(failure) as caught:
            prune.prune_history(criteria=prune.PruneCriteria(older_than=days_ago(30)), archive=archive)
        assert (caught.tb is not None, ends) == (True, ["closed"])
        monkeypatch.undo()
    assert len(remaining()) == 1


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz", "all.md"])
def test_an_export_that_the_disk_cannot_hold_leaves_no_file(manage: Manage, spawn: Spawn, tmp_path: Path, name: str) -> None:
    seed(manage)
    process = spawn("export_history", str(tmp_path / name), "--all", file_limit=64 * 1024)
    assert fails(process).startswith("CommandError: Cannot write the file: [Errno 27]")
    assert list(tmp_path.iterdir()) == []
    assert open_transactions() == 0


def test_a_receipt_that_the_disk_cannot_hold_is_printed(spawn: Spawn, tmp_path: Path) -> None:
    user = str(make_old_conversation().user_id)
    process = spawn("erase_user", user, "--yes", f"--receipt={tmp_path / 'receipt.json'}", file_limit=0)
    printed, said = process.communicate(timeout=END_S)
    assert process.returncode == 1
    assert user in printed
    assert "Cannot write the receipt, which is printed above" in said
    assert remaining() == set()


def test_a_receipt_with_a_wrong_path_erases_nothing(spawn: Spawn, tmp_path: Path) -> None:
    conversation = make_old_conversation()
    process = spawn("erase_user", str(conversation.user_id), "--yes", f"--receipt={tmp_path / 'missing' / 'receipt.json'}")
    _, said = process.communicate(timeout=END_S)
    assert (process.returncode, remaining()) == (2, {conversation.id})
    assert "Cannot write the receipt" in said
