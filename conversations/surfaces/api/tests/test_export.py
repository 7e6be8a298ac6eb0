"""GET /api/export and GET /api/conversations/{id}/export"""

import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.signals import request_finished
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, ExportHold, Message
from conversations.services.history.erase import erase_user
from conversations.services.history.exports import export_holds, own_export
from conversations.services.history.files.seals import Condition
from conversations.services.history.imports.importing import import_history
from conversations.tests.concurrency import with_own_connections
from conversations.tests.factories import NOON, make_conversation, make_message, make_reply, make_turns, minutes

ADDRESS = "/api/export"


def body(answer: Any) -> bytes:
    assert answer.status_code == 200, answer.content
    return b"".join(answer.streaming_content)


def leave(answer: Any) -> None:
    """End a response early, as the server does for a client that has left."""
    # Django would close the connection of this test's transaction.
    request_finished.disconnect(close_old_connections)
    try:
        answer.close()
    finally:
        request_finished.connect(close_old_connections)


def lines(answer: Any) -> list[Any]:
    return [json.loads(line) for line in body(answer).splitlines()]


def titles(answer: Any) -> list[str]:
    return [line["conversation"]["title"] for line in lines(answer) if "conversation" in line]


def fill(user: UserClient, count: int = 3) -> list[Conversation]:
    """Make conversations a minute apart, the least recent first."""
    made = []
    for number in range(count):
        made.append(make_conversation(user.user_id, title=f"talk {number}", updated_at=NOON + minutes(number)))
        make_turns(made[-1], 2)
    return made


def test_everything_of_the_caller_as_lines(user: UserClient, stranger: UserClient, tmp_path: Path) -> None:
    fill(user)
    fill(stranger)
    make_conversation(user.user_id, title="archived", is_archived=True, updated_at=NOON + minutes(9))
    make_conversation(user.user_id, title="temporary", expires_at=timezone.now() + timedelta(days=1))
    make_conversation(user.user_id, title="in the trash", deleted_at=NOON, expires_at=NOON)
    answer = user.get(ADDRESS)
    assert answer["Content-Type"] == "application/x-ndjson"
    assert answer["Content-Disposition"].startswith('attachment; filename="conversations-20')
    assert answer["Cache-Control"] == "no-store"
    found = lines(answer)
    assert found[0] == {"archive": {"version": 1}}
    assert (found[-1]["end"]["conversations"], found[-1]["end"]["messages"]) == (4, 12)
    assert [line["conversation"]["title"] for line in found if "conversation" in line] == [
        "talk 0",
        "talk 1",
        "talk 2",
        "archived",
    ]
    assert [line["message"]["content"] for line in found[2:6]] == ["question 1", "answer 1", "question 2", "answer 2"]
    assert not ExportHold.objects.exists()
    # They are the lines of the command, without the columns for staff.
    file = tmp_path / "all.jsonl"
    call_command("export_history", str(file), "--user", str(user.user_id), stdout=io.StringIO())
    commands = {
        line["message"]["id"]: line["message"] for line in map(json.loads, file.read_text().splitlines()) if "message" in line
    }
    for line in found:
        if "message" in line:
            theirs = commands[line["message"]["id"]]
            assert line["message"] == {name: value for name, value in theirs.items() if name in line["message"]}
            assert theirs.keys() - line["message"].keys() <= own_export.INTERNAL_COLUMNS


def test_nothing_for_staff_gets_out(user: UserClient) -> None:
    reply = make_reply(make_message(make_conversation(user.user_id)))
    Message.objects.filter(id=reply.id).update(
        feedback_note="a note of staff",
        feedback_handled_by="sam",
        trace_id="trace-1",
        upstream_code="code-1",
        upstream_finish="finish-1",
        request_fingerprint="f" * 64,
    )
    said = body(user.get(ADDRESS)) + body(user.get(f"/api/conversations/{reply.conversation_id}/export"))
    for word in (b"a note of staff", b"sam", b"trace-1", b"code-1", b"finish-1", b"f" * 64):
        assert word not in said


def test_it_can_be_imported(user: UserClient) -> None:
    fill(user)
    data = body(user.get(ADDRESS))
    before = list(Message.objects.order_by("id").values())
    Message.objects.all().delete()
    Conversation.objects.all().delete()
    result = import_history(source=io.BytesIO(data))
    assert (result.condition, result.conversations.inserted, result.messages.inserted) == (Condition.WHOLE, 3, 12)
    assert list(Message.objects.order_by("id").values()) == before


@pytest.mark.parametrize("number", [-1, 0, 1, 2])
def test_it_goes_on_behind_a_conversation(user: UserClient, number: int) -> None:
    untimed = make_conversation(user.user_id, title="without a time")
    Conversation.objects.filter(id=untimed.id).update(updated_at=None)
    fill(user)
    found = [line["conversation"] for line in lines(user.get(ADDRESS)) if "conversation" in line][number + 1]
    rest = user.get(ADDRESS, {"after": f"{found['updated_at'] or ''},{found['id']}"})
    assert titles(rest) == ["talk 0", "talk 1", "talk 2"][number + 1 :]


def test_the_plus_sign_of_a_time_may_be_unescaped(user: UserClient) -> None:
    made = fill(user)
    rest = user.get(f"{ADDRESS}?after={NOON.isoformat()},{made[0].id}")
    assert titles(rest) == ["talk 1", "talk 2"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10_000])
def test_ranges_add_up(user: UserClient, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(own_export, "WINDOW", 2)
    fill(user, 5)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": limit}
    while found := [line["conversation"] for line in lines(user.get(ADDRESS, params)) if "conversation" in line]:
        assert len(found) <= limit
        seen += [conversation["title"] for conversation in found]
        params["after"] = f"{found[-1]['updated_at']},{found[-1]['id']}"
    assert seen == [f"talk {number}" for number in range(5)]


@pytest.mark.parametrize(
    "params",
    [
        {"format": "csv"},
        {"after": "yesterday"},
        {"after": f"{NOON.isoformat()},x"},
        {"after": "2026-11-20T12:00:00,01920000-0000-7000-8000-000000000001"},
        {"after": "0001-01-01T00:00:00+05:00,01920000-0000-7000-8000-000000000001"},
        {"limit": "0"},
        {"limit": "many"},
    ],
    ids=["format", "after", "id", "no zone", "year", "zero", "word"],
)
def test_bad_parameters(user: UserClient, params: dict[str, str]) -> None:
    answer = user.get(ADDRESS, params)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert list(answer.json()["fields"]) == [next(iter(params))]
    assert not ExportHold.objects.exists()


def test_one_at_a_time(user: UserClient, stranger: UserClient) -> None:
    fill(user)
    running = user.get(ADDRESS)
    refused = user.get(ADDRESS)
    assert (refused.status_code, refused.json()["code"], refused["Retry-After"]) == (429, "export_in_progress", "10")
    assert titles(stranger.get(ADDRESS)) == []
    # One conversation is another matter.
    assert body(user.get(f"/api/conversations/{Conversation.objects.first().id}/export"))
    leave(running)
    assert not ExportHold.objects.exists()
    assert len(titles(user.get(ADDRESS))) == 3


def test_the_hold_of_a_dead_worker_ends(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_holds, "RENEWED_AFTER_S", 0)
    fill(user)
    running = user.get(ADDRESS)
    stream = iter(running)
    next(stream)
    ExportHold.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert len(titles(user.get(ADDRESS))) == 3
    # The first one, which was not dead, sees that it has lost its hold. It has no last line.
    assert b"".join(stream) == b""
    assert not ExportHold.objects.exists()


def test_erasing_a_user_takes_what_a_dead_worker_has_left(user: UserClient, stranger: UserClient) -> None:
    for user_id in (user.user_id, stranger.user_id):
        assert user_id is not None and export_holds.Hold(user_id).take()
    assert user.user_id is not None
    erase_user(user_id=user.user_id)
    assert list(ExportHold.objects.values_list("user_id", flat=True)) == [stranger.user_id]


def test_an_export_that_goes_on_keeps_its_hold(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_holds, "RENEWED_AFTER_S", 0)
    fill(user)
    running = user.get(ADDRESS)
    stream = iter(running)
    next(stream)
    held = ExportHold.objects.get().held_until
    next(stream)
    assert ExportHold.objects.get().held_until >= held
    assert user.get(ADDRESS).status_code == 429
    leave(running)


def test_head_has_the_headers_and_holds_nothing(user: UserClient) -> None:
    answer = user.head(ADDRESS)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/x-ndjson")
    assert not ExportHold.objects.exists()


def test_a_download_that_is_never_read_gives_everything_back(user: UserClient) -> None:
    for _ in range(own_export.MOST_AT_ONCE + 1):
        leave(user.get(ADDRESS))
    assert not ExportHold.objects.exists()


def test_there_are_not_too_many_at_once(user: UserClient, stranger: UserClient) -> None:
    held = [own_export.exports.acquire(number) for number in range(own_export.MOST_AT_ONCE)]
    try:
        answer = user.get(ADDRESS)
    finally:
        for permit in held:
            permit.release()
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "overloaded", "5")
    assert not ExportHold.objects.exists()
    assert body(user.get(ADDRESS))


def test_it_counts_among_the_open_streams(user: UserClient, settings: Any) -> None:
    settings.USER_MAX_STREAMS = 2
    conversation = make_conversation(user.user_id)
    address = f"/api/conversations/{conversation.id}/export"
    running = [user.get(address), user.get(address)]
    answer = user.get(address)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
    for each in running:
        leave(each)
    assert body(user.get(address))


def test_a_failure_of_the_database_ends_it_without_the_last_line(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_export, "WINDOW", 1)
    fill(user)
    failing = own_export.row_lines
    calls: list[int] = []

    def fail(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise DatabaseError("away")
        return failing(*arguments)

    monkeypatch.setattr(own_export, "row_lines", fail)
    found = user.get(ADDRESS)
    said = [json.loads(line) for line in body(found).splitlines()]
    assert "end" not in said[-1]
    assert not ExportHold.objects.exists()
    monkeypatch.undo()
    assert len(titles(user.get(ADDRESS))) == 3


@pytest.mark.parametrize("file_format", ["jsonl", "markdown"])
def test_large_conversations_come_in_pieces(user: UserClient, monkeypatch: pytest.MonkeyPatch, file_format: str) -> None:
    monkeypatch.setattr(own_export, "PIECE_BYTES", 20_000)
    monkeypatch.setattr(own_export, "MESSAGES_AT_ONCE", 7)
    conversation = make_conversation(user.user_id, title="long")
    texts = [f"text {number} " + "x" * (30_000 if number == 9 else 3_000) for number in range(40)]
    before = None
    for number, text in enumerate(texts):
        before = make_reply(before, text) if number % 2 else make_message(conversation, text)
    # Two of the predecessor's, without a time.
    for text in ("later 1", "later 2"):
        late = make_message(conversation, text)
        Message.objects.filter(id=late.id).update(created_at=None)
    fill(user, 2)
    stream = user.get(ADDRESS, {"format": file_format})
    pieces = list(stream.streaming_content)
    assert max(map(len, pieces)) < 40_000
    said = b"".join(pieces).decode()
    if file_format == "jsonl":
        messages = [json.loads(line)["message"]["content"] for line in said.splitlines() if line.startswith('{"message"')]
        assert sorted(messages[:42]) == sorted([*texts, "later 1", "later 2"]) and messages[:40] == texts
        result = import_history(source=io.BytesIO(said.encode()), is_dry_run=True)
        assert result.condition == Condition.WHOLE
    else:
        places = [said.index(text) for text in texts]
        assert places == sorted(places) and said.count("# talk") == 2


def test_markdown_has_what_is_shown(user: UserClient) -> None:
    conversation = make_conversation(user.user_id, title="Tea\n2")
    asked = make_message(conversation, "first version", is_active=False)
    make_message(conversation, "second version", parent=asked)
    answer = user.get(ADDRESS, {"format": "markdown"})
    assert answer["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer["Content-Disposition"].endswith('.md"')
    said = body(answer).decode()
    assert said.startswith("# Tea 2\n") and "second version" in said and "first version" not in said


def test_one_conversation_as_json_and_markdown(user: UserClient) -> None:
    conversation = make_conversation(user.user_id, title="Tea")
    asked, reply = make_turns(conversation, 1)
    address = f"/api/conversations/{conversation.id}/export"
    answer = user.get(address)
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"] == f'attachment; filename="conversation-{conversation.id}.json"'
    document = json.loads(body(answer))
    assert document["conversation"]["title"] == "Tea"
    assert [message["id"] for message in document["messages"]] == [str(asked.id), str(reply.id)]
    said = body(user.get(address, {"format": "markdown"})).decode()
    assert said.startswith("# Tea\n") and said.index("question 1") < said.index("answer 1")
    empty = make_conversation(user.user_id)
    assert json.loads(body(user.get(f"/api/conversations/{empty.id}/export")))["messages"] == []


def test_one_conversation_of_another_user(user: UserClient, stranger: UserClient) -> None:
    conversation = make_conversation(stranger.user_id)
    for address in (f"/api/conversations/{conversation.id}/export", "/api/conversations/x/export"):
        answer = user.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = stranger.get(f"/api/conversations/{conversation.id}/export", {"format": "pdf"})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["format"])


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    yield


@pytest.mark.usefixtures("committed")
def test_no_connection_is_held_between_pieces(user: UserClient) -> None:
    fill(user)
    stream = user.get(ADDRESS)
    for _ in range(2):
        next(iter(stream))
        assert connection.connection is None
    leave(stream)


@pytest.mark.usefixtures("committed")
def test_many_at_once_for_one_user(user: UserClient) -> None:
    fill(user)

    def begin(number: int) -> Any:
        return own_export.export_own(user_id=user.user_id, file_format="jsonl")

    begun = with_own_connections(begin, times=5)
    downloads: list[Callable[..., Any]] = [one for one in begun if isinstance(one, own_export.Download)]
    refused = [one for one in begun if isinstance(one, Exception)]
    assert len(downloads) == 1 and {type(one).__name__ for one in refused} == {"ExportInProgress"}
    for one in downloads:
        one.close()
