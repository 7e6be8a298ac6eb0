"""What the commands' tests share."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection

from conversations.models import Conversation, Message

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


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

    def start(*arguments: str) -> "subprocess.Popen[str]":
        settings = connection.settings_dict
        url = f"postgresql://{settings['USER']}:{settings['PASSWORD']}@/{settings['NAME']}?host={settings['HOST']}"
        url += f"&port={settings['PORT']}" if settings["PORT"] else ""
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env={**os.environ, "DATABASE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def make_conversation(
    *,
    user_id: UUID | None = None,
    age_days: float | None = 100,
    messages: int = 2,
    last_status: str = "complete",
    **fields: Any,
) -> Conversation:
    """Make a conversation with so many messages, a question and an answer in turn."""
    at = None if age_days is None else days_ago(age_days)
    fields = {"user_id": user_id or uuid4(), "created_at": at, "updated_at": at, "title": "A title"} | fields
    conversation = Conversation.objects.create(**fields)
    Message.objects.bulk_create(
        Message(
            conversation=conversation,
            role=("user", "assistant")[number % 2],
            content=f"message {number}",
            created_at=at,
            status=last_status if number % 2 and number >= messages - 2 else "complete",
        )
        for number in range(messages)
    )
    return conversation


def remaining() -> set[UUID]:
    return set(Conversation.objects.values_list("id", flat=True))
