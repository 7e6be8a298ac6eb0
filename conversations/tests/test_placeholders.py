"""Replies without text that the predecessor must be able to send: see `conversations.placeholders`."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from conversations.models import Conversation, Message, Status
from conversations.placeholders import NO_TEXT
from conversations.services.staff.export_selection import export_conversations
from conversations.tests.factories import make_conversation, make_message, make_reply

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation() -> Conversation:
    """A conversation with a failed reply, in which the predecessor then says something."""
    conversation = make_conversation()
    make_reply(make_message(conversation, "asked"), "", status=Status.FAILED)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messages (conversation_id, role, content, model_tag) VALUES (%s, 'user', 'there', 'default')",
            [conversation.id],
        )
    return conversation


def stored(conversation: Conversation) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT content FROM messages WHERE conversation_id = %s", [conversation.id])
        return [text for (text,) in cursor.fetchall()]


def test_the_trigger_writes_what_we_read_as_no_text(conversation: Conversation) -> None:
    assert NO_TEXT in stored(conversation)
    assert set(Message.objects.in_conversation(conversation.id).values_list("content", flat=True)) == {"asked", "", "there"}


def test_exports_do_not_show_it(conversation: Conversation, manage: Callable[..., Any], tmp_path: Path) -> None:
    manage("export_history", str(tmp_path / "all.jsonl.gz"), "--all")
    manage("export_history", str(tmp_path / "all.md"), "--all")
    written = [gzip.decompress((tmp_path / "all.jsonl.gz").read_bytes()), (tmp_path / "all.md").read_bytes()]
    for export_format in ("csv", "jsonl"):
        written.append(b"".join(export_conversations(conversation_ids=[conversation.id], export_format=export_format)))
    for exported in written:
        text = exported.decode()
        assert "asked" in text
        assert NO_TEXT not in text
        assert "\\u2060" not in text


def test_messages_of_one_statement_are_one_look_at_the_conversation(conversation: Conversation) -> None:
    """Otherwise many of them take time that grows with the square of their number."""
    other = make_conversation()
    make_reply(make_message(other), "", status=Status.FAILED)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL track_functions = 'pl'")
        cursor.execute(
            "INSERT INTO messages (conversation_id, role, content) SELECT %s, 'user', 'there' FROM generate_series(1, 50)",
            [other.id],
        )
        cursor.execute("SELECT pg_stat_get_xact_function_calls('give_texts'::regproc)")
        assert cursor.fetchone() == (1,)
    assert NO_TEXT in stored(other)
