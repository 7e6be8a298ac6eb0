"""Users' own instructions in exports, imports and erasures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from conversations.models import UserInstructions
from conversations.services.history.erase import count_of_user, erase_user
from conversations.services.history.imports import instruction_lines
from conversations.services.history.user_tables import is_known_user
from conversations.tests.factories import make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]
MIRA, SAM = UUID("11111111-1111-4111-8111-111111111111"), UUID("22222222-2222-4222-8222-222222222222")


@pytest.fixture(autouse=True)
def written() -> None:
    for user_id, text, is_active in ((MIRA, 'quotes " and \\ \u2028\n', True), (SAM, "be brief", False)):
        UserInstructions.objects.create(user_id=user_id, text=text, is_active=is_active)
        make_old_conversation(user_id=user_id)


def everything() -> list[Any]:
    return list(UserInstructions.objects.order_by("user_id").values())


def test_they_come_back_from_an_export(
    manage: Manage, manage_json: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruction_lines, "LINES_AT_ONCE", 1)
    before = everything()
    file, second = tmp_path / "all.jsonl", tmp_path / "second.jsonl"
    manage("export_history", str(file), "--all")
    manage("import_history", str(file), "--verify")
    assert manage_json("import_history", str(file), "--dry-run")["instructions"] == {"inserted": 0, "present": 2, "left_out": 0}
    UserInstructions.objects.filter(user_id=MIRA).delete()
    UserInstructions.objects.filter(user_id=SAM).update(text="changed since")
    assert manage_json("import_history", str(file), "--dry-run")["instructions"]["inserted"] == 1
    assert manage_json("import_history", str(file))["instructions"] == {"inserted": 1, "present": 1, "left_out": 0}
    assert [row["text"] for row in everything()] == [before[0]["text"], "changed since"]
    UserInstructions.objects.all().delete()
    assert "own instructions: 2 restored" in manage("import_history", str(file))
    assert everything() == before
    manage("export_history", str(second), "--all")
    assert second.read_bytes() == file.read_bytes()


def test_only_those_of_the_user(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "mira.jsonl"
    manage("export_history", str(file), "--user", str(MIRA))
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["instructions"]["user_id"] for line in found if "instructions" in line] == [str(MIRA)]
    manage("export_history", str(file), "--since", "30d", "--user", str(MIRA))
    assert "instructions" not in file.read_text()
    everyone = tmp_path / "all.jsonl"
    manage("export_history", str(everyone), "--all")
    UserInstructions.objects.all().delete()
    manage("import_history", str(everyone), "--user", str(SAM))
    assert [row["user_id"] for row in everything()] == [SAM]
    markdown = tmp_path / "mira.md"
    manage("export_history", str(markdown), "--user", str(SAM))
    assert markdown.read_text().startswith("# Own instructions\n\nbe brief")


def test_erasing_takes_them_and_an_import_does_not_bring_them_back(manage: Manage, manage_json: Manage, tmp_path: Path) -> None:
    file = str(tmp_path / "all.jsonl")
    manage("export_history", file, "--all")
    assert count_of_user(user_id=MIRA).instructions == 1
    assert erase_user(user_id=MIRA).instructions == 1
    assert [row["user_id"] for row in everything()] == [SAM]
    summary = manage_json("import_history", file)
    assert (summary["instructions"], summary["erased_users"]) == ({"inserted": 0, "present": 1, "left_out": 1}, 1)
    manage("import_history", file, "--include-erased")
    assert len(everything()) == 2


def test_a_user_with_nothing_else_is_known() -> None:
    user_id = uuid4()
    assert not is_known_user(user_id=user_id)
    UserInstructions.objects.create(user_id=user_id, text="x")
    assert is_known_user(user_id=user_id)
