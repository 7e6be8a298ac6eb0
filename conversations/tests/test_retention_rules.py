"""`manage.py prune_history --by-rules`: each conversation obeys its most specific rule."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError
from django.db import IntegrityError, transaction

from conversations.models import Assistant, ChatUser, Conversation, PruneRun, RetentionRule, StaffAccess, UsageTotal
from conversations.services.history.holds import place_hold
from conversations.tests.conftest import remaining
from conversations.tests.factories import USER_ID, days_ago, make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]
ManageJson = Callable[..., Any]
ARCHIVED = "pruned-2020-01.jsonl.gz"


def rule(days: int | None, **scope: Any) -> RetentionRule:
    return RetentionRule.objects.create(days=days, **scope)


def taken(summary: Any) -> dict[str, int]:
    return {one["rule"]: one["rows"] for one in summary["rules"]}


def test_the_most_specific_rule_counts(manage_json: ManageJson) -> None:
    pirate = Assistant.objects.create(name="Pirate")
    rule(100)
    rule(30, is_anonymous=True)
    rule(200, model_tag="d32")
    rule(300, assistant_id=pirate.id)
    rule(400, user_id=USER_ID)
    gone: dict[str, Conversation] = {}
    kept: dict[str, Conversation] = {}
    # One of each is a little older than its rule says, one a little younger. All but one also match weaker rules.
    for name, days, fields in (
        ("all", 100, {}),
        ("anonymous", 30, {"is_anonymous": True}),
        ("model", 200, {"model_tag": "d32"}),
        ("assistant", 300, {"model_tag": "d32", "assistant": pirate}),
        ("user", 400, {"user_id": USER_ID, "model_tag": "d32", "assistant": pirate}),
    ):
        is_anonymous = fields.pop("is_anonymous", False)
        for found, age in ((gone, days + 1), (kept, days - 1)):
            found[name] = made = make_old_conversation(age_days=age, **fields)
            if is_anonymous:
                Conversation.objects.filter(id=made.id).update(user_id=None)
    dry = manage_json("prune_history", "--by-rules", "--dry-run")
    assert remaining() == {one.id for one in (*gone.values(), *kept.values())}
    done = manage_json("prune_history", "--by-rules", "--yes")
    assert remaining() == {one.id for one in kept.values()}
    assert taken(dry) == taken(done) == dict.fromkeys(taken(done), 1)
    assert len(done["rules"]) == 5 and done["is_complete"]
    assert [one["days"] for one in done["rules"]] == [400, 300, 200, 30, 100], "the most specific one first"
    assert all(one["messages"] == 2 for one in done["rules"])
    assert dry["rules"][0]["estimated_bytes"] > 0


def test_a_rule_without_days_keeps_for_ever(manage_json: ManageJson) -> None:
    rule(1)
    rule(None, user_id=USER_ID)
    kept = make_old_conversation(user_id=USER_ID, age_days=900)
    make_old_conversation()
    assert taken(manage_json("prune_history", "--by-rules", "--yes")) == {"conversations": 1}
    assert remaining() == {kept.id}


def test_favourites_go_only_if_the_rule_says_so_and_holds_are_spared(manage_json: ManageJson) -> None:
    one = rule(1)
    favourite = make_old_conversation(is_favorited=True)
    held = make_old_conversation()
    place_hold(reason="file 12", placed_by="root", conversation_id=held.id)
    summary = manage_json("prune_history", "--by-rules", "--yes")
    assert (summary["rules"][0]["rows"], summary["rules"][0]["on_hold"]) == (0, 1)
    RetentionRule.objects.filter(pk=one.pk).update(includes_favorites=True)
    assert taken(manage_json("prune_history", "--by-rules", "--yes")) == {"conversations": 1}
    assert favourite.id not in remaining() and remaining() == {held.id}


def test_records_have_rules_too(manage_json: ManageJson) -> None:
    held = uuid4()
    place_hold(reason="file 12", placed_by="root", user_id=held)
    for user in (USER_ID, held):
        UsageTotal.objects.create(user_id=user, bucket=days_ago(300).replace(minute=0, second=0, microsecond=0))
        ChatUser.objects.create(id=user, last_seen_at=days_ago(300))
        StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=uuid4(), user_id=user, at=days_ago(300))
    for what in ("usage_totals", "staff_access", "chat_users"):
        rule(200, what=what)
    expected = dict.fromkeys(("usage totals", "access by staff", "users without conversations"), 1)
    for options in (("--dry-run",), ("--yes",)):
        summary = manage_json("prune_history", "--by-rules", *options)
        assert taken(summary) == expected
        assert [one["on_hold"] for one in summary["rules"]] == [1, 1, 1]
    assert (UsageTotal.objects.get().user_id, ChatUser.objects.get().id, StaffAccess.objects.get().user_id) == (held,) * 3


def make_archive(manage: Manage, folder: Path, name: str = ARCHIVED, age_days: float = 300, **fields: Any) -> Path:
    path = folder / name
    make_old_conversation(**fields)
    manage("prune_history", "--older-than", "90d", "--archive", str(path), "--yes")
    at = days_ago(age_days).timestamp()
    os.utime(path, (at, at))
    return path


def test_old_archives_go_and_nothing_else_of_their_folder(manage: Manage, manage_json: ManageJson, tmp_path: Path) -> None:
    rule(200, what="archives")
    make_archive(manage, tmp_path)
    kept = {
        make_archive(manage, tmp_path, "pruned-new.jsonl", age_days=100).name,
        make_archive(manage, tmp_path, "held.jsonl.gz", user_id=USER_ID).name,
    }
    place_hold(reason="file 12", placed_by="root", user_id=USER_ID)
    for name in ("notes.txt", "others.jsonl", "others.jsonl.gz"):
        (tmp_path / name).write_text('{"a": 1}\n')
        os.utime(tmp_path / name, (1, 1))
        kept.add(name)
    (tmp_path / "link.jsonl.gz").symlink_to(tmp_path / ARCHIVED)
    kept |= {ARCHIVED, "link.jsonl.gz"}
    for options, more in ((("--dry-run",), set()), (("--yes",), {ARCHIVED})):
        summary = manage_json("prune_history", "--by-rules", "--archives", str(tmp_path), *options)
        assert taken(summary) == {"archive files": 1}
        assert summary["rules"][0]["on_hold"] == 1
        assert {path.name for path in tmp_path.iterdir()} == kept - more
    # Without the folder, a rule about archives does nothing.
    assert taken(manage_json("prune_history", "--by-rules", "--yes")) == {"archive files": 0}


def test_what_is_deleted_by_rules_can_be_archived(manage: Manage, manage_json: ManageJson, tmp_path: Path) -> None:
    rule(100)
    make_old_conversation(age_days=101)
    path = tmp_path / "pruned.jsonl.gz"
    manage("prune_history", "--by-rules", "--archive", str(path), "--yes")
    assert manage_json("import_history", str(path), "--verify")["conversations"] == 1


def test_a_scheduled_run_is_noted_for_the_metrics(manage: Manage) -> None:
    rule(100)
    make_old_conversation(age_days=101)
    text = manage("prune_history", "--by-rules", "--yes")
    assert "conversations, older than 100 days: deleted 1 with 2 messages" in text
    run = PruneRun.objects.get()
    assert (run.criteria, run.conversations, run.messages) == ("by-rules", 1, 2)


def test_without_rules_nothing_goes(manage: Manage) -> None:
    make_old_conversation()
    assert "No rule deletes anything." in manage("prune_history", "--by-rules", "--yes")
    assert len(remaining()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--by-rules", "--older-than", "90d"),
        ("--by-rules", "--include-favorites"),
        ("--older-than", "90d", "--archives", "."),
        ("--by-rules", "--archives", "absent"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_refused(manage: Manage, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as failure:
        manage("prune_history", *arguments, "--yes")
    assert failure.value.returncode == 2


@pytest.mark.parametrize("fields", [{"days": 0}, {"days": 93, "what": "usage_totals"}, {"days": 5, "user_id": USER_ID}])
def test_the_table_refuses_impossible_rules_and_twins(fields: dict[str, Any]) -> None:
    rule(5, user_id=USER_ID)
    rule(5, user_id=UUID(int=1))
    with pytest.raises(IntegrityError), transaction.atomic():
        RetentionRule.objects.create(**fields)
    assert json.dumps([str(one) for one in RetentionRule.objects.all()])
