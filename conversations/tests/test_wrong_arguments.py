"""What every command does with wrong arguments: exit code 2 (or 3 for an unknown user), and nothing has begun."""

import io
import os
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, load_command_class

from conversations.models import ChatUser
from conversations.tests.conftest import remaining
from conversations.tests.factories import make_old_conversation

pytestmark = pytest.mark.django_db

KNOWN, UNKNOWN = "mira@example.com", "11111111-1111-4111-8111-111111111112"

WRONG = """
prune_history
prune_history --older-than=90
prune_history --older-than=-5d
prune_history --older-than=1.5d
prune_history --older-than=tomorrow
prune_history --older-than=2999-01-01
prune_history --older-than=2026-02-30
prune_history --older-than=999999y
prune_history --expired --keep-last=0
prune_history --keep-last=-1
prune_history --keep-last=ten
prune_history --user=
prune_history --user=mira
prune_history --user=nobody@example.com
prune_history --user=UNKNOWN
prune_history --user=KNOWN --anonymous
prune_history --status=streaming
prune_history --tag=
prune_history --include-favorites
prune_history --expired --archive=FOLDER/x.csv
prune_history --expired --archive=FOLDER/x.gz
prune_history --expired --archive=FOLDER/missing/x.jsonl
prune_history --expired --archive=FOLDER/folder.jsonl
prune_history --expired --archive=FOLDER/pipe.jsonl
prune_history --expired --archive=FOLDER/file/x.jsonl
prune_history --expired --archive=FOLDER/LONG.jsonl
prune_history --expired --batch-size=0
prune_history --expired --pause=-1
prune_history --expired --max-seconds=soon
prune_history --expired --yes --force
prune_history --expired surplus
export_history
export_history FOLDER/x.jsonl
export_history FOLDER/x.jsonl --all --user=KNOWN
export_history FOLDER/x.jsonl --all --since=1y
export_history FOLDER/x.jsonl --user=KNOWN --anonymous
export_history FOLDER/x.jsonl --since=1d --until=2d
export_history FOLDER/x.jsonl --since=2026-01-01 --until=2026-01-01
export_history FOLDER/x.jsonl --since=2999-01-01
export_history FOLDER/x.jsonl --user=UNKNOWN
export_history FOLDER/x.csv --all
export_history FOLDER/x --all
export_history FOLDER/x.jsonl --all --format=xml
export_history FOLDER/missing/x.jsonl --all
export_history FOLDER/folder.jsonl --all
export_history FOLDER/file/x.jsonl --all
export_history FOLDER/LONG.jsonl --all
export_history FOLDER/pipe.jsonl --all
export_history FOLDER/x.jsonl --all --batch-size=-3
import_history
import_history FOLDER/missing.jsonl
import_history FOLDER/folder.jsonl
import_history FOLDER/file/x.jsonl
import_history FOLDER/file --user=mira
import_history FOLDER/file --user=nobody@example.com
import_history FOLDER/file --batch-size=0
import_history FOLDER/file --verify --dry-run
import_history FOLDER/file --from=whatsapp
import_history FOLDER/file --from=chatgpt
import_history FOLDER/missing.zip --from=chatgpt --user=KNOWN
erase_user
erase_user mira --yes
erase_user KNOWN
erase_user KNOWN --yes --receipt=FOLDER/missing/x.json
erase_user KNOWN --yes --receipt=FOLDER/folder.jsonl
erase_user KNOWN --dry-run --receipt=FOLDER/folder.jsonl
erase_user KNOWN --yes --receipt=FOLDER/LONG
erase_user KNOWN --yes --receipt=FOLDER/pipe.jsonl
move_history --from=KNOWN --yes
move_history --to=KNOWN --yes
move_history --from=KNOWN --to=KNOWN --yes
move_history --from=KNOWN --to=nobody@example.com --yes
move_history --from=KNOWN --to=UNKNOWN
move_history --from=KNOWN --to=UNKNOWN --yes --batch-size=0
move_history --from=KNOWN --to=UNKNOWN --yes --receipt=FOLDER/folder.jsonl
correct_activity --batch-size=0
correct_activity --pause=-1
correct_activity --max-seconds=-1
correct_activity surplus
count_usage --since=2999-01-01
count_usage --since=yesterday
count_usage --pause=x
prune_records --yes
prune_records --usage-older-than=92d --yes
prune_records --changes-older-than=29d --yes
prune_records --access-older-than=-1d --yes
prune_records --users-unseen-for=2999-01-01 --yes
prune_records --access-older-than=1y
seed_demo
seed_demo --users=0 --add
seed_demo --users=-1 --add
seed_demo --conversations=-1 --add
seed_demo --messages=1.5 --add
seed_demo --seed=x --add
seed_demo --until=2999-01-01 --add
check_setup surplus
check_setup --yaml
"""
UNKNOWN_USERS = """
erase_user UNKNOWN --yes
erase_user nobody@example.com --yes
erase_user UNKNOWN --dry-run
move_history --from=UNKNOWN --to=KNOWN --yes
move_history --from=nobody@example.com --to=KNOWN --dry-run
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").write_text("{}\n")
    os.mkfifo(tmp_path / "pipe.jsonl")
    return tmp_path


def exit_code(line: str, folder: Path) -> int:
    """Run a line as from the shell."""
    for word, value in (("UNKNOWN", UNKNOWN), ("KNOWN", KNOWN), ("FOLDER", str(folder)), ("LONG", "x" * 300)):
        line = line.replace(word, value)
    name, *arguments = line.split()
    command = load_command_class("conversations", name)
    command._called_from_command_line = True
    parser = command.create_parser("manage.py", name)
    try:
        options = vars(parser.parse_args(arguments))
        command.execute(*options.pop("args", ()), **options, stdout=io.StringIO(), stderr=io.StringIO())
    except CommandError as refused:
        return refused.returncode
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def state(folder: Path) -> tuple[set[UUID], list[UUID], list[tuple[str, int]]]:
    files = sorted((path.name, path.stat().st_size) for path in folder.rglob("*"))
    return remaining(), list(ChatUser.objects.values_list("id", flat=True)), files


@pytest.mark.parametrize(
    ("line", "code"),
    [
        *((line, 2) for line in WRONG.strip().splitlines()),
        *((line, 3) for line in UNKNOWN_USERS.strip().splitlines()),
    ],
)
def test_wrong_arguments_are_refused_before_anything_begins(line: str, code: int, folder: Path) -> None:
    conversation = make_old_conversation(user_id=uuid4())
    ChatUser.objects.create(id=conversation.user_id, email=KNOWN)
    before = state(folder)
    assert exit_code(line, folder) == code
    assert state(folder) == before


def test_an_output_without_rights_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, to whom every folder is open."""
    monkeypatch.setattr("conversations.management.paths.os.access", lambda path, right: False)
    for line in (
        "prune_history --expired --yes --archive=FOLDER/x.jsonl",
        "export_history FOLDER/x.jsonl --all",
        "import_history FOLDER/file",
        "erase_user KNOWN --yes --receipt=FOLDER/x.json",
    ):
        assert exit_code(line, folder) == 2, line
