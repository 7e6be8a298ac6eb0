"""What commands say when something fails around them."""

import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest

from conversations.tests.conftest import remaining
from conversations.tests.factories import make_old_conversation
from devstack.folder import PROJECT
from tests.support.database import run_command, start_command
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

COMMANDS = ["clearsessions", "migrate", "changepassword mira", "seed_demo", "correct_activity", "export_history - --all"]


def test_an_unreachable_database_is_named_with_host_and_reason() -> None:
    result = run_command(
        "postgresql://someone@127.0.0.1:1/chat?connect_timeout=1&password=hunter2", "prune_history", "--expired", "--yes"
    )
    assert result.returncode == 1
    assert "127.0.0.1" in result.stderr
    assert "refused" in result.stderr
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


# Of the cron lines, of the first hour, and one for each base class of ours.
@pytest.mark.parametrize("kind", [COMMANDS[:3], COMMANDS[3:]], ids=["django's", "ours"])
def test_no_command_writes_a_traceback_when_the_database_is_away(kind: list[str]) -> None:
    url = "postgresql://someone@127.0.0.1:1/chat?connect_timeout=1&password=hunter2"
    for process in [start_command(url, *line.split()) for line in kind]:
        _, said = process.communicate()
        assert (process.returncode, "hunter2" in said) == (1, False), process.args
        assert len(said.splitlines()) == 1 and "Connection refused" in said, process.args


@pytest.mark.parametrize(
    ("line", "signal_number"),
    [
        ("prune_history --older-than=1d", signal.SIGINT),
        ("erase_user USER", signal.SIGINT),
        ("erase_user USER", signal.SIGTERM),
        ("move_history --from=USER --to=11111111-1111-4111-8111-111111111112", signal.SIGINT),
        ("prune_records --access-older-than=1y", signal.SIGTERM),
    ],
)
def test_a_signal_at_the_question_ends_the_command(database_url: str, line: str, signal_number: int) -> None:
    user = make_old_conversation().user_id
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", *line.replace("USER", str(user)).split()],
        cwd=PROJECT,
        env={"SECRET_KEY": "only-for-commands-long-enough-to-start-with", **os.environ, "DATABASE_URL": database_url},
        stdin=inner,
        stdout=inner,
        stderr=inner,
    )
    said = b""

    def has_asked() -> bool:
        nonlocal said
        said += os.read(outer, 4096)
        return b"Continue?" in said

    try:
        wait_until(has_asked, "the command asks")
        process.send_signal(signal_number)
        assert process.wait(timeout=30) == 128 + signal_number
    finally:
        process.kill()
        process.wait()
    assert len(remaining()) == 1


@pytest.fixture
def database_url() -> Any:
    from django.db import connection

    settings = connection.settings_dict
    port = f"&port={settings['PORT']}" if settings["PORT"] else ""
    return f"postgresql://{settings['USER']}:{settings['PASSWORD']}@/{settings['NAME']}?host={settings['HOST']}{port}"
