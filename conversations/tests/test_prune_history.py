"""`manage.py prune_history`."""

import gzip
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, connection, transaction

from conversations.management.arguments import _months_before
from conversations.models import Conversation, Message, PruneRun
from conversations.services.history.pruning import prune
from conversations.services.history.pruning.prune import (
    BATCH_S,
    LARGEST_BATCH,
    SMALL_BATCH_ROWS,
    PruneCriteria,
    next_batch_size,
    prune_history,
)
from conversations.tags import tag_columns
from conversations.tests.conftest import remaining
from conversations.tests.factories import days_ago, make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]
OLD = ("prune_history", "--older-than", "90d", "--yes")


def test_old_conversations_go_with_their_messages_and_others_stay(manage_json: Manage) -> None:
    make_old_conversation(age_days=91, messages=4)
    kept = make_old_conversation(age_days=89)
    summary = manage_json(*OLD)
    assert remaining() == {kept.id}
    assert set(Message.objects.values_list("conversation_id", flat=True)) == {kept.id}
    assert (summary["conversations"], summary["messages"], summary["is_complete"]) == (1, 4, True)


@pytest.mark.parametrize("age", ["13w", "3m", "0y", "2100-01-01", "1.5d", "90", "99999y", "tomorrow"])
def test_ages_are_understood_or_refused(manage: Manage, age: str) -> None:
    make_old_conversation(age_days=100)
    if age in ("13w", "3m", "0y"):
        manage("prune_history", "--older-than", age, "--yes")
        assert not remaining()
    else:
        with pytest.raises(CommandError):
            manage("prune_history", "--older-than", age, "--yes")
        assert len(remaining()) == 1


def test_a_date_is_midnight_utc(manage: Manage) -> None:
    make_old_conversation(updated_at=datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), messages=0)
    kept = make_old_conversation(updated_at=datetime(2026, 1, 1, tzinfo=UTC), messages=0)
    manage("prune_history", "--older-than", "2026-01-01", "--yes")
    assert remaining() == {kept.id}


def test_months_go_by_the_calendar() -> None:
    assert _months_before(datetime(2026, 3, 31), 1) == datetime(2026, 2, 28)
    assert _months_before(datetime(2026, 1, 15), 13) == datetime(2024, 12, 15)


def test_rows_without_times_are_judged_by_what_they_have(manage: Manage) -> None:
    make_old_conversation(age_days=None, created_at=days_ago(100))
    young = make_old_conversation(age_days=None, created_at=days_ago(1))
    timeless = make_old_conversation(age_days=None)
    manage(*OLD, "--batch-size", "1")
    assert remaining() == {young.id, timeless.id}


@pytest.mark.parametrize("arguments", [[], ["--include-favorites"], ["--anonymous", "--user", str(uuid4())]])
def test_without_a_criterion_it_refuses(manage: Manage, arguments: list[str]) -> None:
    make_old_conversation()
    with pytest.raises(CommandError) as refusal:
        manage("prune_history", "--yes", *arguments)
    assert refusal.value.returncode == 2
    assert len(remaining()) == 1
    with pytest.raises(ValueError):
        prune_history(criteria=PruneCriteria(include_favorites=True))


def test_without_a_terminal_it_wants_yes(manage: Manage) -> None:
    make_old_conversation()
    with pytest.raises(CommandError, match="--yes") as refusal:
        manage("prune_history", "--older-than", "90d")
    assert refusal.value.returncode == 2
    assert len(remaining()) == 1


def test_favourites_stay_unless_included(manage: Manage) -> None:
    favourite = make_old_conversation(is_favorited=True)
    make_old_conversation()
    manage(*OLD)
    assert remaining() == {favourite.id}
    manage(*OLD, "--include-favorites")
    assert not remaining()


def test_archived_ones_and_those_with_a_tag(manage: Manage) -> None:
    archived = make_old_conversation(is_archived=True)
    tagged = make_old_conversation(**tag_columns(["Draft", "tea"]))
    favourite = make_old_conversation(is_favorited=True, **tag_columns(["draft"]))
    new = make_old_conversation(age_days=1, **tag_columns(["draft"]))
    other = make_old_conversation(**tag_columns(["drafts"]))
    manage("prune_history", "--tag", " DRAFT", "--older-than", "90d", "--yes")
    assert remaining() == {archived.id, favourite.id, new.id, other.id}
    assert tagged.id not in remaining()
    manage("prune_history", "--archived", "--yes")
    assert remaining() == {favourite.id, new.id, other.id}
    for nothing in ("", " ", "x" * 51):
        with pytest.raises(CommandError, match="1 to 50 characters"):
            manage("prune_history", f"--tag={nothing}", "--yes")


@pytest.mark.parametrize("criterion", ["--older-than=90d", "--status=complete", "--keep-last=1", "--expired"])
def test_running_replies_are_never_touched(manage: Manage, criterion: str) -> None:
    user = uuid4()
    running = make_old_conversation(user_id=user, last_status="streaming", expires_at=days_ago(1))
    Message.objects.create(conversation=running, role="assistant", content="", status="complete", created_at=days_ago(1))
    other = make_old_conversation(user_id=user, last_status="complete", expires_at=days_ago(1))
    manage("prune_history", criterion, "--yes", "--include-favorites")
    assert running.id in remaining()
    if criterion != "--keep-last=1":
        assert other.id not in remaining()


def test_the_user_anonymous_empty_and_expired_criteria(manage: Manage) -> None:
    user = uuid4()
    users = make_old_conversation(user_id=user)
    anonymous = make_old_conversation()
    Conversation.objects.filter(id=anonymous.id).update(user_id=None)
    empty = make_old_conversation(messages=0)
    expired = make_old_conversation(expires_at=days_ago(0.01))
    unexpired = make_old_conversation(expires_at=days_ago(-1))
    for arguments, gone in (
        (["--user", str(user)], users),
        (["--anonymous"], anonymous),
        (["--empty"], empty),
        (["--expired"], expired),
    ):
        before = remaining()
        manage("prune_history", *arguments, "--yes")
        assert before - remaining() == {gone.id}
    assert remaining() == {unexpired.id}


def test_the_status_is_that_of_the_newest_reply(manage: Manage) -> None:
    failed = make_old_conversation(messages=4, last_status="failed")
    recovered = make_old_conversation(messages=2, last_status="failed")
    Message.objects.create(conversation=recovered, role="assistant", content="ok", created_at=days_ago(1))
    stopped = make_old_conversation(last_status="stopped")
    manage("prune_history", "--status", "failed", "--status", "interrupted", "--yes")
    assert failed.id not in remaining()
    assert remaining() == {recovered.id, stopped.id}


def test_the_status_is_that_of_the_reply_that_counts(manage: Manage) -> None:
    conversation = make_old_conversation(last_status="complete")
    asked, _ = conversation.messages.oldest_first()
    Message.objects.create(
        conversation=conversation, role="assistant", content="", status="failed", parent=asked, is_active=False
    )
    manage("prune_history", "--status", "failed", "--yes")
    assert remaining() == {conversation.id}
    manage("prune_history", "--status", "complete", "--yes")
    assert remaining() == set()


def test_criteria_narrow_each_other(manage: Manage) -> None:
    user = uuid4()
    make_old_conversation(user_id=user, messages=0)
    kept = [
        make_old_conversation(user_id=user),
        make_old_conversation(messages=0),
        make_old_conversation(user_id=user, age_days=1, messages=0),
    ]
    manage(*OLD, "--user", str(user), "--empty")
    assert remaining() == {conversation.id for conversation in kept}


@pytest.mark.parametrize("batch_size", ["1", "2", "100"])
def test_keep_last_keeps_the_newest_of_each_user(manage: Manage, batch_size: str) -> None:
    kept = set()
    for user in (uuid4(), uuid4()):
        made = [make_old_conversation(user_id=user, age_days=100 + day) for day in range(5)]
        kept |= {made[0].id, made[1].id}
    anonymous = make_old_conversation()
    Conversation.objects.filter(id=anonymous.id).update(user_id=None)
    manage("prune_history", "--keep-last", "2", "--yes", "--batch-size", batch_size)
    assert remaining() == kept | {anonymous.id}
    manage(*OLD, "--keep-last", "2")
    assert remaining() == kept


def test_equal_times_are_no_obstacle(manage_json: Manage) -> None:
    at = days_ago(200)
    for _ in range(7):
        make_old_conversation(updated_at=at)
    assert manage_json(*OLD, "--batch-size", "2")["conversations"] == 7
    assert not remaining()


def test_a_dry_run_counts_what_the_run_deletes_and_changes_nothing(manage_json: Manage) -> None:
    for messages in (0, 2, 6):
        make_old_conversation(messages=messages)
    make_old_conversation(is_favorited=True)
    arguments = ("prune_history", "--older-than", "90d", "--batch-size", "2")
    counted = manage_json(*arguments, "--dry-run")
    assert len(remaining()) == 4
    assert counted["is_dry_run"]
    assert counted["estimated_bytes"] > 8 * 50
    deleted = manage_json(*arguments, "--yes")
    assert [counted[name] for name in ("conversations", "messages")] == [3, 8]
    assert [deleted[name] for name in ("conversations", "messages")] == [3, 8]


@pytest.mark.parametrize(
    ("took", "expected"),
    [(1, 1000), (1.6, 625), (4, 500), (0.8, 1250), (0.001, 2000), (0, 2000), (10_000, 500)],
    ids=["right", "too long", "far too long", "a little short", "far too short", "in no time", "for ever"],
)
def test_batches_become_as_large_as_their_time_allows(took: float, expected: int) -> None:
    assert next_batch_size(1000, 11_000, took * BATCH_S, largest=LARGEST_BATCH) == expected


@pytest.mark.parametrize("took", [2, 10_000])
def test_a_busy_machine_does_not_make_small_batches_smaller(took: float) -> None:
    assert next_batch_size(100, SMALL_BATCH_ROWS - 1, took * BATCH_S, largest=LARGEST_BATCH) == 100
    assert next_batch_size(1, 10_000, took * BATCH_S, largest=LARGEST_BATCH) == 1


def test_batches_stay_below_the_limit() -> None:
    assert next_batch_size(1000, 11_000, BATCH_S / 2, largest=1200) == 1200


def test_on_a_database_that_stalls_batches_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(30):
        make_old_conversation()
    monkeypatch.setattr(prune, "BATCH_S", 0.0)
    monkeypatch.setattr(prune, "FIRST_BATCH", 10)
    assert prune_history(criteria=PruneCriteria(older_than=days_ago(90))).batches == 3


def test_repeating_finds_nothing_more(manage_json: Manage) -> None:
    make_old_conversation()
    manage_json(*OLD)
    assert manage_json(*OLD)["conversations"] == 0


def test_time_that_is_up_has_its_own_exit_code(manage: Manage) -> None:
    make_old_conversation()
    with pytest.raises(SystemExit) as ended:
        manage(*OLD, "--max-seconds", "0")
    assert ended.value.code == 3
    assert len(remaining()) == 1


def test_the_archive_holds_what_was_deleted(manage: Manage, tmp_path: Path) -> None:
    archive = tmp_path / "pruned.jsonl.gz"
    gone = make_old_conversation(messages=3)
    make_old_conversation(age_days=1)
    manage(*OLD, "--archive", str(archive))
    lines = [json.loads(line) for line in gzip.decompress(archive.read_bytes()).splitlines()]
    assert [next(iter(line)) for line in lines] == ["archive", "conversation", "message", "message", "message", "end"]
    assert lines[1]["conversation"]["id"] == str(gone.id)
    assert archive.stat().st_mode & 0o077 == 0


def test_an_archive_that_others_could_read_is_closed_to_them(manage: Manage, tmp_path: Path) -> None:
    archive = tmp_path / "pruned.jsonl.gz"
    archive.touch()
    archive.chmod(0o644)
    make_old_conversation()
    manage(*OLD, "--archive", str(archive))
    assert archive.stat().st_mode & 0o777 == 0o600


def test_an_archive_is_continued_behind_its_last_whole_batch(manage: Manage, tmp_path: Path) -> None:
    archive = tmp_path / "pruned.jsonl.gz"
    make_old_conversation(messages=1)
    manage(*OLD, "--archive", str(archive))
    whole = archive.read_bytes()
    archive.write_bytes(whole + whole[: len(whole) // 2])
    make_old_conversation(messages=1)
    manage(*OLD, "--archive", str(archive))
    assert archive.read_bytes().startswith(whole)
    kinds = [next(iter(json.loads(line))) for line in gzip.decompress(archive.read_bytes()).splitlines()]
    assert kinds == 2 * ["archive", "conversation", "message", "end"]


@pytest.mark.parametrize("name", ["there.jsonl.gz", "there.jsonl", "there.txt"])
def test_a_file_that_is_no_archive_is_not_overwritten(manage: Manage, tmp_path: Path, name: str) -> None:
    make_old_conversation()
    file = tmp_path / name
    file.write_text("something dear")
    with pytest.raises(CommandError, match="archive"):
        manage(*OLD, "--archive", str(file))
    assert file.read_text() == "something dear"
    assert len(remaining()) == 1


def test_a_batch_that_fails_stays_whole_and_out_of_the_archive(
    manage: Manage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "pruned.jsonl"
    survivor, gone = make_old_conversation(age_days=100), make_old_conversation(age_days=200)
    delete_with_messages = prune.delete_with_messages

    def fail_at_the_second(ids: Any) -> Any:
        deleted = delete_with_messages(ids)
        if len(remaining()) == 0:
            raise DatabaseError("in mid-batch")
        return deleted

    monkeypatch.setattr(prune, "delete_with_messages", fail_at_the_second)
    with pytest.raises(CommandError) as failure:
        manage(*OLD, "--batch-size", "1", "--archive", str(archive))
    assert failure.value.returncode == 1
    assert remaining() == {survivor.id}
    assert Message.objects.count() == 2
    assert [json.loads(line)["conversation"]["id"] for line in archive.read_text().splitlines() if line.startswith('{"c')] == [
        str(gone.id)
    ]


@pytest.mark.django_db(transaction=True)
def test_what_is_locked_is_left_alone() -> None:
    locked, free = make_old_conversation(), make_old_conversation()
    is_locked, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                Conversation.objects.select_for_update(no_key=True).get(id=locked.id)
                is_locked.set()
                assert may_end.wait(30)
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert is_locked.wait(30)
        result = prune_history(criteria=PruneCriteria(older_than=days_ago(90)))
    finally:
        may_end.set()
        holder.join()
    assert (result.conversations, result.is_complete) == (1, True)
    assert remaining() == {locked.id}
    assert free.id != locked.id


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("criterion", ["user", "empty", "age"])
def test_a_message_that_comes_before_the_lock_saves_its_conversation(criterion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice and the lock a message commits: the second question must see it."""
    user = uuid4()
    conversation = make_old_conversation(user_id=user, messages=0)
    criteria = {
        "user": PruneCriteria(user_id=user),
        "empty": PruneCriteria(is_empty=True),
        "age": PruneCriteria(older_than=days_ago(90)),
    }[criterion]
    matching = prune.matching
    calls = 0

    def matching_with_a_latecomer(given: PruneCriteria) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:  # the second question: what the first one saw is out of date now
            status = "streaming" if criterion == "user" else "complete"
            Message.objects.create(conversation=conversation, role="assistant", content="", status=status)
            # As the predecessor leaves it.
            Conversation.objects.filter(id=conversation.id).update(updated_at=conversation.updated_at)
        return matching(given)

    monkeypatch.setattr(prune, "matching", matching_with_a_latecomer)
    result = prune_history(criteria=criteria)
    assert calls >= 1
    assert (result.conversations, remaining()) == (0, {conversation.id})


@pytest.mark.parametrize("conversations", [1, 20])
def test_a_batch_takes_as_many_statements_whatever_it_holds(django_assert_num_queries: Any, conversations: int) -> None:
    for _ in range(conversations):
        make_old_conversation()
    # Savepoint, planner setting, rows without time, window, lock, ask again, setting, two deletes, release; then, at the end of
    # the walk, savepoint, planner setting, a window that is empty, release.
    with django_assert_num_queries(15):
        prune_history(criteria=PruneCriteria(older_than=days_ago(90)))


@pytest.mark.parametrize("age_days", [100, None])
def test_a_conversation_with_a_newer_message_is_never_pruned(manage: Manage, age_days: float | None) -> None:
    """The predecessor saves messages without noting the turn."""
    used = make_old_conversation(age_days=age_days, created_at=days_ago(100))
    Message.objects.create(conversation=used, role="user", content="today", created_at=days_ago(1))
    make_old_conversation(age_days=age_days, created_at=days_ago(100))
    manage(*OLD)
    assert remaining() == {used.id}


def test_keep_last_spares_a_conversation_that_is_used_although_its_time_is_old(manage: Manage) -> None:
    """The predecessor saves messages without noting a turn."""
    user = uuid4()
    used = make_old_conversation(age_days=90, user_id=user)
    kept = [make_old_conversation(age_days=days, user_id=user) for days in (10, 20)]
    make_old_conversation(age_days=80, user_id=user)
    Message.objects.create(conversation=used, role="user", content="just now", created_at=days_ago(0))
    manage("prune_history", "--keep-last", "2", "--yes")
    assert remaining() == {used.id, *[each.id for each in kept]}


def test_a_scheduled_run_is_remembered_and_a_run_by_hand_is_not(manage: Manage, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old_conversation(messages=3)
    manage(*OLD, "--dry-run")
    assert not PruneRun.objects.exists()
    manage(*OLD)
    run = PruneRun.objects.get()
    assert (run.criteria, run.conversations, run.messages) == ("older-than", 1, 3)
    manage(*OLD)
    again = PruneRun.objects.get()
    assert (again.conversations, again.messages) == (0, 0)
    manage("prune_history", "--expired", "--empty", "--include-favorites", "--keep-last=3", "--yes")
    assert PruneRun.objects.filter(criteria="empty,expired,keep-last").exists()

    def fail(*_: Any, **__: Any) -> Any:
        raise DatabaseError

    PruneRun.objects.all().delete()
    monkeypatch.setattr(prune, "delete_with_messages", fail)
    make_old_conversation()
    with pytest.raises(CommandError):
        manage(*OLD)
    assert not PruneRun.objects.exists()
    monkeypatch.undo()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    manage(*OLD)
    assert not PruneRun.objects.exists()
