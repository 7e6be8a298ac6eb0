"""`manage.py scrub_archive`: the file is whole without the person, or it is the old one."""

import fcntl
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.core.management import CommandError

from conversations.models import ChatUser, Conversation, Message, UserInstructions
from conversations.services.history.files.archive_file import ArchiveFile
from conversations.services.history.holds import place_hold
from conversations.services.history.pruning import scrub
from conversations.tests.conftest import remaining
from conversations.tests.factories import USER_ID, make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]
ManageJson = Callable[..., Any]
OTHER = UUID("22222222-2222-4222-8222-222222222222")
FORMS = ("pruned.jsonl.gz", "pruned.jsonl", "exported.jsonl.gz", "exported.jsonl")


def lines_of(path: Path) -> list[Any]:
    content = path.read_bytes()
    return [orjson.loads(line) for line in (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()]


@pytest.fixture
def make_archive(manage: Manage, tmp_path: Path) -> Callable[..., Path]:
    """Archive two conversations of USER_ID between three of OTHER, in two runs."""

    def make(name: str = "pruned.jsonl.gz") -> Path:
        path = tmp_path / name
        for age, owner in enumerate((OTHER, USER_ID, OTHER, USER_ID, OTHER)):
            make_old_conversation(user_id=owner, age_days=200 - age, messages=4)
        if name.startswith("exported"):
            for owner in (OTHER, USER_ID):
                UserInstructions.objects.create(user_id=owner, text=f"be brief with {owner}")
            manage("export_history", str(path), "--all")
            Conversation.objects.all().delete()
            UserInstructions.objects.all().delete()
        else:
            for age in ("198d", "90d"):
                manage("prune_history", "--older-than", age, "--archive", str(path), "--yes")
        assert not remaining()
        return path

    return make


@pytest.mark.parametrize("name", FORMS)
def test_the_person_is_gone_and_the_file_is_whole(
    manage: Manage, manage_json: ManageJson, make_archive: Any, name: str
) -> None:
    path = make_archive(name)
    before = path.read_bytes()
    dry = manage_json("scrub_archive", str(path), "--user", str(USER_ID), "--dry-run")
    assert path.read_bytes() == before
    done = manage_json("scrub_archive", str(path), "--user", str(USER_ID), "--yes")
    for summary in (dry, done):
        assert [summary[key] for key in ("conversations", "messages", "condition")] == [2, 8, "whole"]
    assert str(USER_ID) not in json.dumps(lines_of(path)), "also not in anybody's instructions"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    verified = manage_json("import_history", str(path), "--verify")
    assert (verified["conversations"], verified["messages"], verified["condition"]) == (3, 12, "whole")
    assert manage_json("import_history", str(path))["conversations"]["inserted"] == 3
    assert set(Conversation.objects.values_list("user_id", flat=True)) == {OTHER}
    assert Message.objects.count() == 12


def test_a_run_appends_to_what_was_scrubbed(manage: Manage, manage_json: ManageJson, make_archive: Any) -> None:
    path = make_archive()
    manage("scrub_archive", str(path), "--user", str(USER_ID), "--yes")
    make_old_conversation(user_id=OTHER)
    manage("prune_history", "--older-than", "90d", "--archive", str(path), "--yes")
    assert manage_json("import_history", str(path), "--verify") | {"conversations": 4, "condition": "whole"} == manage_json(
        "import_history", str(path), "--verify"
    )


def test_a_file_without_the_person_is_not_touched(manage_json: ManageJson, make_archive: Any) -> None:
    path = make_archive()
    before, inode = path.read_bytes(), path.stat().st_ino
    assert manage_json("scrub_archive", str(path), "--user", str(uuid4()), "--yes")["conversations"] == 0
    assert (path.read_bytes(), path.stat().st_ino) == (before, inode)


def test_a_conversation_that_changed_hands_stays_with_its_last_owner(manage: Manage, tmp_path: Path) -> None:
    path, conversation_id = tmp_path / "joined.jsonl", uuid4()

    def lines(owner: UUID, text: str) -> list[bytes]:
        rows: tuple[Any, ...] = (
            {"conversation": {"id": str(conversation_id), "user_id": str(owner)}},
            {"message": {"id": str(uuid4()), "conversation_id": str(conversation_id), "content": text}},
        )
        return [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]

    with ArchiveFile(path) as archive:
        for owner, text in ((USER_ID, "of mira"), (OTHER, "of sam")):
            with archive.batch(lines(owner, text)):
                pass
    manage("scrub_archive", str(path), "--user", str(USER_ID), "--yes")
    assert [row["message"]["content"] for row in lines_of(path) if "message" in row] == ["of sam"]


@pytest.mark.parametrize("failing", ["batch", "_check"])
def test_a_full_disk_leaves_the_old_file(
    manage: Manage, make_archive: Any, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = make_archive()
    before = path.read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    if failing == "batch":
        monkeypatch.setattr(scrub.ArchiveFile, "_write", full)
    else:
        monkeypatch.setattr(scrub, "_check", full)
    with pytest.raises(CommandError, match="No space left") as failure:
        manage("scrub_archive", str(path), "--user", str(USER_ID), "--yes")
    assert failure.value.returncode == 1
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("harm", ["cut", "changed", "no archive", "being written"])
def test_what_is_not_whole_is_refused(manage: Manage, make_archive: Any, harm: str) -> None:
    path = make_archive("pruned.jsonl")
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "changed":
        path.write_bytes(content.replace(b'"message 1"', b'"message 9"', 1))
    elif harm == "no archive":
        path.write_bytes(b'{"conversation":7}\n')
    before = path.read_bytes()
    with path.open("rb") as held:
        if harm == "being written":
            fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="Nothing was changed"):
            manage("scrub_archive", str(path), "--user", str(USER_ID), "--yes")
    assert path.read_bytes() == before


def test_a_hold_spares_the_person_in_archives_too(manage: Manage, make_archive: Any) -> None:
    path = make_archive()
    before = path.read_bytes()
    ChatUser.objects.create(id=USER_ID, email="mira@example.com")
    placed = place_hold(reason="file 12", placed_by="root", user_id=USER_ID)
    for _ in range(2):
        with pytest.raises(CommandError) as refusal:
            manage("scrub_archive", str(path), "--user", "mira@example.com", "--yes")
        assert refusal.value.returncode == 4
        # Then a hold on a conversation that only the file still has.
        theirs = next(
            row["conversation"]["id"] for row in lines_of(path) if row.get("conversation", {}).get("user_id") == str(USER_ID)
        )
        type(placed).objects.filter(pk=placed.pk).update(user_id=None, conversation_id=theirs)
    assert path.read_bytes() == before


@pytest.mark.parametrize("arguments", [("absent.jsonl",), ("pruned.txt",)])
def test_wrong_files_are_refused(manage: Manage, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "pruned.txt").write_text("")
    with pytest.raises(CommandError):
        manage("scrub_archive", str(tmp_path / arguments[0]), "--user", str(USER_ID), "--yes")
