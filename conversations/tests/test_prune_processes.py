"""`manage.py prune_history` as a process: interrupted anywhere, and several at once."""

import json
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Count

from conversations.models import Conversation, Message
from conversations.tests.conftest import remaining
from conversations.tests.test_export_import import everything
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
Manage = Callable[..., Any]
Spawn = Callable[..., "subprocess.Popen[str]"]
MESSAGES = 2000
PRUNE = ("prune_history", "--older-than=2026-04-01", "--yes", "--batch-size=4")


def seed(manage: Manage) -> None:
    manage("seed_demo", "--users=10", "--conversations=900", f"--messages={MESSAGES}", "--until=2026-06-01")


def message_counts() -> dict[Any, int]:
    return dict(Conversation.objects.annotate(total=Count("messages")).values_list("id", "total"))


def wait_for_progress(process: "subprocess.Popen[str]", target: int) -> None:
    wait_until(lambda: Conversation.objects.count() <= target or process.poll() is not None, "some are pruned")


@pytest.mark.parametrize("interruptions", [3, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_interrupted_anywhere_it_ends_in_the_same_state(
    manage: Manage, spawn: Spawn, tmp_path: Path, interruptions: int
) -> None:
    seed(manage)
    archive = str(tmp_path / "pruned.jsonl.gz")
    before, counts = everything(), message_counts()
    expected = set(
        Conversation.objects.exclude(updated_at__lt="2026-04-01T00:00Z", is_favorited=False).values_list("id", flat=True)
    )
    chance = random.Random(7)
    was_interrupted = 0
    for attempt in range(interruptions):
        target = len(remaining()) - chance.randint(0, 30)
        process = spawn(*PRUNE, "--archive", archive)
        wait_for_progress(process, target)
        process.send_signal(signal.SIGINT)
        if attempt % 3 == 2:  # the second one does not wait for the batch
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        was_interrupted += process.returncode == 130
        # Whole conversations only, and none that should stay is gone.
        assert message_counts().items() <= counts.items()
        assert Message.objects.count() == sum(message_counts().values())
        assert expected <= remaining()
    assert was_interrupted > interruptions // 3
    assert expected < remaining(), "all was pruned before the last interruption"
    final = spawn(*PRUNE, "--archive", archive)
    final.communicate(timeout=300)
    assert (final.returncode, remaining()) == (0, expected)
    manage("import_history", archive)
    assert everything() == before


def test_terminated_it_finishes_its_batch_and_says_so(manage: Manage, spawn: Spawn) -> None:
    seed(manage)
    process = spawn(*PRUNE, "--pause=60", "--json")
    wait_until(lambda: len(remaining()) < 900, "the first batch is pruned")
    process.terminate()
    summary = json.loads(process.communicate(timeout=30)[0])
    assert (process.returncode, summary["is_complete"]) == (143, False)
    assert summary["conversations"] == 900 - len(remaining())


def test_two_runs_at_once_share_the_work(manage: Manage, spawn: Spawn) -> None:
    seed(manage)
    expected = set(
        Conversation.objects.exclude(updated_at__lt="2026-04-01T00:00Z", is_favorited=False).values_list("id", flat=True)
    )
    runs = [spawn(*PRUNE, "--json") for _ in range(2)]
    summaries = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert remaining() == expected
    assert sum(summary["conversations"] for summary in summaries) == 900 - len(expected)
    assert sum(summary["messages"] for summary in summaries) == MESSAGES - Message.objects.count()


def test_two_runs_do_not_write_one_archive(manage: Manage, spawn: Spawn, tmp_path: Path) -> None:
    seed(manage)
    archive = tmp_path / "pruned.jsonl.gz"
    first = spawn(*PRUNE, "--archive", str(archive), "--pause=60")
    wait_until(lambda: len(remaining()) < 900, "the first batch is pruned")
    second = spawn(*PRUNE, "--archive", str(archive))
    _, said = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "another run" in said
    first.terminate()
    first.communicate(timeout=30)


def test_without_anything_to_ask_or_to_do_the_exit_codes_tell(spawn: Spawn) -> None:
    for arguments, code in (
        (["--yes"], 2),
        (["--older-than=soon", "--yes"], 2),
        (["--older-than=90d"], 2),
        (["--older-than=90d", "--yes"], 0),
    ):
        process = spawn("prune_history", *arguments)
        process.communicate(timeout=60)
        assert process.returncode == code, arguments
