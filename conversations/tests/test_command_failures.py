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
from tests.support.database import run_command
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_an_unreachable_database_is_named_with_host_and_reason() -> None:
    result = run_command(
        "postgresql://someone@127.0.0.1:1/chat?connect_timeout=1&password=hunter2", "prune_history", "--expired", "--yes"
    )
    assert result.returncode == 1
    assert "127.0.0.1" in result.stderr
    assert "refused" in result.stderr
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


def test_control_c_at_the_question_ends_the_command(database_url: str) -> None:
    make_old_conversation()
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "prune_history", "--older-than=1d"],
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

    wait_until(has_asked, "the command asks")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 128 + signal.SIGINT
    assert len(remaining()) == 1


@pytest.fixture
def database_url() -> Any:
    from django.db import connection

    settings = connection.settings_dict
    port = f"&port={settings['PORT']}" if settings["PORT"] else ""
    return f"postgresql://{settings['USER']}:{settings['PASSWORD']}@/{settings['NAME']}?host={settings['HOST']}{port}"
