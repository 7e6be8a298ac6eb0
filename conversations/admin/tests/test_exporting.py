"""Exporting a selection."""

import csv
import io
import json
import re

import pytest
from django.db import connection
from django.test import Client

from conversations.models import Conversation, StaffAccess
from conversations.services.staff import export_selection
from conversations.services.staff.export_selection import export_conversations
from conversations.tests.factories import NOON, USER_ID, make_conversation

from .factories import make_chat_user, make_long_conversation, make_message, make_staff

LIST = "/admin/conversations/conversation/"


def _export(client: Client, action: str, *conversations: Conversation, **more: str):
    return client.post(
        LIST, {"action": action, "_selected_action": [str(one.pk) for one in conversations], "confirmed": "yes", **more}
    )


@pytest.mark.django_db
def test_json_lines_hold_everything(operator: Client) -> None:
    conversation = make_conversation(title="Ünïcode")
    asked = make_message(conversation, "user", "Zeile\nZwei")
    measured = {"token_count": 3, "status": "failed", "error_code": "upstream_error", "feedback": -1, "feedback_comment": "bad"}
    make_message(conversation, "assistant", "ok", minute=1, parent=asked, is_active=False, **measured)
    answer = _export(operator, "export_as_jsonl", conversation)
    assert answer.streaming
    assert answer["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="conversations.jsonl"'
    first, second = [json.loads(line) for line in answer.getvalue().splitlines()]
    assert first["conversation"]["title"] == "Ünïcode"
    assert first["conversation"]["user_id"] == str(USER_ID)
    assert first["message"]["content"] == "Zeile\nZwei"
    assert second["message"]["parent_id"] == str(asked.pk)
    assert second["message"].items() >= {**measured, "is_active": False, "role": "assistant"}.items()


@pytest.mark.django_db
def test_json_lines_have_every_column_of_both_tables(operator: Client) -> None:
    conversation = make_conversation(title="Tea", session_id="support-chat", title_source="user")
    make_message(conversation, "user", "Which tea?", idempotency_key="k", request_fingerprint="f", was_active=True)
    make_message(conversation, "assistant", "Green.", context={"messages": 1, "left_out": 0}, stop_requested=True)
    lines = [json.loads(line) for line in _export(operator, "export_as_jsonl", conversation).getvalue().splitlines()]
    with connection.cursor() as cursor:
        for table, name in (("conversations", "conversation"), ("messages", "message")):
            cursor.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
            assert set(lines[0][name]) == {column for (column,) in cursor.fetchall()}
    assert (
        lines[0]["conversation"].items() >= {"session_id": "support-chat", "title_source": "user", "expires_at": None}.items()
    )
    assert lines[0]["message"].items() >= {"idempotency_key": "k", "request_fingerprint": "f", "was_active": True}.items()
    assert lines[1]["message"].items() >= {"context": {"messages": 1, "left_out": 0}, "stop_requested": True}.items()


@pytest.mark.django_db
def test_json_lines_do_not_give_access_to_an_anonymous_session(operator: Client) -> None:
    key = "7b0f8a52-2a4c-4a67-8d0e-1c5f3f2b9a10"
    answer = _export(operator, "export_as_jsonl", make_conversation(user_id=None, session_id=key)).getvalue()
    assert json.loads(answer)["conversation"]["session_id"] is None
    assert key.encode() not in answer


@pytest.mark.django_db
def test_csv_can_be_read_back(operator: Client) -> None:
    conversation = make_conversation(title="A, b")
    make_message(conversation, "user", 'He said "no",\nthen left')
    answer = _export(operator, "export_as_csv", conversation)
    (row,) = csv.DictReader(io.StringIO(answer.getvalue().decode(), newline=""))
    assert row["title"] == "A, b"
    assert row["message_content"] == 'He said "no",\nthen left'
    assert row["message_created_at"] == NOON.isoformat()
    assert row["conversation_id"] == str(conversation.pk)


@pytest.mark.django_db
def test_csv_says_which_answer_a_client_brought(operator: Client) -> None:
    conversation = make_conversation()
    make_message(conversation, "assistant", "invented", source="client")
    make_message(conversation, "assistant", "said", minute=1)
    answer = _export(operator, "export_as_csv", conversation)
    rows = csv.DictReader(io.StringIO(answer.getvalue().decode(), newline=""))
    assert [(row["message_content"], row["message_source"]) for row in rows] == [("invented", "client"), ("said", "")]


@pytest.mark.django_db
@pytest.mark.parametrize("dangerous", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_csv_runs_no_formula_of_a_user(operator: Client, dangerous: str) -> None:
    conversation = make_conversation(title=dangerous)
    make_message(conversation, "user", dangerous)
    answer = _export(operator, "export_as_csv", conversation)
    (row,) = csv.DictReader(io.StringIO(answer.getvalue().decode(), newline=""))
    assert row["title"] == row["message_content"]
    assert row["title"].startswith("'")
    assert row["title"].replace("'", "") == dangerous


@pytest.mark.django_db
@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r\n", "; ", "|", ","])
@pytest.mark.parametrize("formula", ["=1+1", "+1", "@x", "-1", "\uff1d1"])
def test_csv_runs_no_formula_where_a_spreadsheet_splits_elsewhere(operator: Client, separator: str, formula: str) -> None:
    """Spreadsheets of many countries split at semicolons, and then at line breaks inside of quotes too."""
    conversation = make_conversation(title="harmless")
    make_message(conversation, "user", f"x{separator}{formula}")
    text = _export(operator, "export_as_csv", conversation).getvalue().decode()
    cells = [cell.strip(' "') for line in text.splitlines() for cell in re.split("[;,|\t]", line)]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\uff1d")) or cell == "-1"]


@pytest.mark.django_db
@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_batches_neither_lose_nor_repeat(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(export_selection, "MESSAGE_BATCH", batch)
    monkeypatch.setattr(export_selection, "CONVERSATION_BATCH", batch)
    conversations = [make_long_conversation(turns) for turns in (3, 1, 0, 2)]
    make_message(conversations[1], "user", "undated", created_at=None)
    ids = [one.pk for one in conversations]
    lines = b"".join(export_conversations(conversation_ids=ids, export_format="jsonl")).splitlines()
    records = [json.loads(line) for line in lines]
    contents = [record["message"] and record["message"]["content"] for record in records]
    turns = [f"{kind} number {number}" for number in range(3) for kind in ("Question", "Answer")]
    assert contents == [*turns, *turns[:2], "undated", None, *turns[:4]]


@pytest.mark.django_db
def test_what_was_deleted_meanwhile_is_left_out(operator: Client) -> None:
    gone, kept = make_long_conversation(1), make_long_conversation(2)
    ids = [gone.pk, kept.pk]
    gone.delete()
    assert len(list(b"".join(export_conversations(conversation_ids=ids, export_format="jsonl")).splitlines())) == 4


@pytest.mark.django_db
def test_an_export_is_noted_for_each_conversation(operator: Client) -> None:
    first, second = make_conversation(), make_conversation(user_id=None)
    _export(operator, "export_as_csv", first, second)
    noted = StaffAccess.objects.values_list("staff_name", "kind", "conversation_id", "user_id")
    assert set(noted) == {("olga", "exported", first.pk, USER_ID), ("olga", "exported", second.pk, None)}


@pytest.mark.django_db
def test_select_all_means_as_many_as_the_list_counts(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conversations.admin.exporting.MOST_EXPORTED", 2)
    several = [make_conversation() for _ in range(5)]
    asked = _export(operator, "export_as_jsonl", several[0], select_across="1", confirmed="")
    assert not asked.streaming and not StaffAccess.objects.exists()
    assert "2 of 5" in asked.content.decode()
    exported = []
    for part, size in (("", 2), ("2", 2), ("3", 1), ("4", 0), ("nonsense", 2)):
        answer = _export(operator, "export_as_jsonl", several[0], select_across="1", part=part)
        lines = answer.getvalue().splitlines()
        assert len(lines) == size
        exported += [json.loads(line)["conversation"]["id"] for line in lines]
    assert set(exported[:5]) == {str(one.pk) for one in several}
    assert 'filename="conversations.jsonl"' in answer["Content-Disposition"]


@pytest.mark.django_db
def test_an_export_of_several_names_whose_they_are_before_it_begins(operator: Client) -> None:
    make_chat_user()
    several = [make_conversation(), make_conversation(), make_conversation(user_id=None)]
    page = _export(operator, "export_as_csv", *several, confirmed="").content.decode()
    assert "ada@example.com (2 conversations)" in page and "anonymous (1 conversation)" in page
    assert page.count('name="_selected_action"') == 3
    assert not StaffAccess.objects.exists()
    assert _export(operator, "export_as_csv", several[0], confirmed="").streaming, "one conversation needs no question"


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_reader_takes_its_time() -> None:
    conversations = [make_long_conversation(2) for _ in range(3)]
    client = Client()
    client.force_login(make_staff("root", superuser=True))
    answer = _export(client, "export_as_csv", *conversations)
    parts = 0
    for _ in answer.streaming_content:
        parts += 1
        assert connection.connection is None
    assert parts == 4


def test_no_character_of_a_text_splits_a_line_for_any_reader(operator: Client) -> None:
    """Readers such as `str.splitlines` also split at U+0085, U+2028 and U+2029."""
    text = "one\u2028two\u2029three\u0085four"
    conversation = make_conversation(title=text)
    make_message(conversation, "user", text)
    (line,) = _export(operator, "export_as_jsonl", conversation).getvalue().decode().splitlines()
    row = json.loads(line)
    assert (row["conversation"]["title"], row["message"]["content"]) == (text, text)
