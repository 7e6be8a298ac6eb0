"""What the commands' tests share."""

import io
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection

from conversations.models import Conversation
from tests.support.database import start_command


@pytest.fixture
def manage() -> Callable[..., str]:
    """Call a command as from the shell; returns what it said on standard output."""

    def call(*arguments: str) -> str:
        out = io.StringIO()
        call_command(*arguments, stdout=out, stderr=io.StringIO())
        return out.getvalue()

    return call


@pytest.fixture
def manage_json(manage: Callable[..., str]) -> Callable[..., Any]:
    return lambda *arguments: json.loads(manage(*arguments, "--json"))


@pytest.fixture
def spawn(transactional_db: None) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a command as a process of its own on this test's database."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, file_limit: int | None = None) -> "subprocess.Popen[str]":
        settings = connection.settings_dict
        url = f"postgresql://{settings['USER']}:{settings['PASSWORD']}@/{settings['NAME']}?host={settings['HOST']}"
        url += f"&port={settings['PORT']}" if settings["PORT"] else ""
        started.append(start_command(url, *arguments, file_limit=file_limit))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def remaining() -> set[UUID]:
    return set(Conversation.objects.values_list("id", flat=True))
