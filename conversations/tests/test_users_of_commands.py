"""Commands take an e-mail address where they take a user, and refuse users of whom nothing is stored."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, load_command_class

from conversations.management import commands
from conversations.models import ChatUser, Conversation
from conversations.tests.conftest import remaining
from conversations.tests.factories import make_old_conversation
from devstack.folder import PROJECT

pytestmark = pytest.mark.django_db(transaction=True)
Manage = Callable[..., str]

MIRA = "Mira@Example.com"


def make_user(email: str = "mira@example.com") -> Conversation:
    conversation = make_old_conversation(user_id=uuid4())
    ChatUser.objects.create(id=conversation.user_id, email=email)
    return conversation


def arguments(command: str, user: str, file: Path) -> list[str]:
    """Return the arguments that let a command change or write something of a user."""
    return {
        "erase_user": ["erase_user", user, "--yes"],
        "prune_history": ["prune_history", "--user", user, "--yes", "--include-favorites"],
        "export_history": ["export_history", str(file), "--user", user],
        "import_history": ["import_history", str(file), "--user", user],
    }[command]


@pytest.mark.parametrize("command", ["erase_user", "prune_history"])
def test_an_address_in_any_case_names_its_user(manage: Manage, command: str, tmp_path: Path) -> None:
    make_user()
    other = make_user("mira@example.com.au")
    manage(*arguments(command, MIRA, tmp_path / "x.jsonl"))
    assert remaining() == {other.id}


def test_exports_and_imports_take_an_address(manage: Manage, tmp_path: Path) -> None:
    mine, other = make_user(), make_user("someone@example.com")
    mine_id = mine.id
    file = tmp_path / "one.jsonl"
    manage(*arguments("export_history", MIRA, file))
    assert str(mine.id) in file.read_text() and str(other.id) not in file.read_text()
    everything = tmp_path / "all.jsonl"
    manage("export_history", str(everything), "--all")
    mine.messages.all().delete()
    mine.delete()
    other.messages.all().delete()
    other.delete()
    manage(*arguments("import_history", MIRA, everything))
    assert remaining() == {mine_id}


@pytest.mark.parametrize("user", ["nobody@example.com", "11111111-1111-4111-8111-111111111112", "mira@example"])
@pytest.mark.parametrize(("command", "code"), [("erase_user", 3), ("prune_history", 2), ("export_history", 2)])
def test_an_unknown_user_is_refused(manage: Manage, command: str, code: int, user: str, tmp_path: Path) -> None:
    make_user()
    before = remaining()
    with pytest.raises(CommandError) as refused:
        manage(*arguments(command, user, tmp_path / "x.jsonl"))
    assert refused.value.returncode == code
    assert remaining() == before and not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize("command", ["erase_user", "prune_history", "export_history"])
def test_an_address_of_several_users_is_refused_with_their_ids(manage: Manage, command: str, tmp_path: Path) -> None:
    first, second = make_user(), make_user()
    with pytest.raises(CommandError) as refused:
        manage(*arguments(command, MIRA, tmp_path / "x.jsonl"))
    assert str(first.user_id) in str(refused.value) and str(second.user_id) in str(refused.value)
    assert remaining() == {first.id, second.id}


@pytest.mark.parametrize("user", ["mira", "", "@", "1234"])
def test_what_is_neither_is_refused(manage: Manage, user: str) -> None:
    with pytest.raises(CommandError, match="neither the UUID nor the e-mail address"):
        manage("erase_user", user, "--yes")


def test_a_user_who_is_only_in_the_file_can_be_imported(manage: Manage, tmp_path: Path) -> None:
    conversation = make_old_conversation(user_id=uuid4())
    file = tmp_path / "all.jsonl"
    manage("export_history", str(file), "--all")
    user = str(conversation.user_id)
    conversation.messages.all().delete()
    conversation.delete()
    manage("import_history", str(file), "--user", user)
    assert json.loads(manage("erase_user", user, "--dry-run"))["conversations"] == 1


# Django's own, whose form is Django's.
WITHOUT_JSON = {"migrate"}


def test_every_command_prints_json_in_a_documented_form() -> None:
    folder = Path(commands.__file__ or "").parent
    page = (PROJECT / "docs" / "operating.md").read_text()
    for name in sorted({path.stem for path in folder.glob("*.py")} - {"__init__"} - WITHOUT_JSON):
        parser = load_command_class("conversations", name).create_parser("manage.py", name)
        if name == "legal_hold":
            (actions,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
            parsers = list(actions.choices.values())
        else:
            parsers = [parser]
        assert all("--json" in each._option_string_actions for each in parsers), name
        assert f"| `{name}` |" in page, f"{name}: docs/operating.md says what its JSON has"
