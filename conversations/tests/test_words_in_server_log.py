"""PostgreSQL notes statements that fail in its log: what users write and look for must not be in them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client

from conversations.admin import search as admin_search
from conversations.models import Conversation, Message
from conversations.services.history.files.reading import ImportProblem
from conversations.services.history.imports.importing import import_history
from conversations.services.search import messages as search
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_running_reply

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "raspberry"


@pytest.fixture
def logged() -> Callable[[], str]:
    """Return what PostgreSQL has written to its log since the test began."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        log = Path(cursor.fetchone()[0]).parent / "log"
    if not log.is_file():
        pytest.skip("the log of this PostgreSQL is somewhere else")
    start = log.stat().st_size
    return lambda: log.read_bytes()[start:].decode()


def test_a_search_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]) -> None:
    for name in ("SEARCH_S", "FIRST_WINDOW_S"):
        monkeypatch.setattr(search, name, 0.3)
    monkeypatch.setattr(search, "INDEXED_SQL", f"SELECT *, pg_sleep(60) FROM ({search.INDEXED_SQL}) AS slow")
    make_message(make_conversation(), SECRET)
    assert search.search_messages(user_id=USER_ID, text=SECRET, limit=5).next is not None
    assert "canceling statement due to statement timeout" in logged()
    assert SECRET not in logged()


def test_a_search_that_postgresql_could_not_read(logged: Callable[[], str]) -> None:
    text = f"{SECRET} {'-' * 40}"
    assert search.search_messages(user_id=USER_ID, text=text, limit=5).hits == []
    admin_search.search_conversations(Conversation.objects.all(), text)
    assert "tsquery" not in logged()
    assert SECRET not in logged()


def test_a_search_of_staff_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]) -> None:
    monkeypatch.setattr(admin_search, "SEARCH_TIMEOUT_MS", 300)
    staff = Client()
    staff.force_login(User.objects.create_superuser("root"))
    # Something that takes longer than a search may, between its words.
    slow = Message.objects.with_words(SECRET).extra(where=["pg_sleep(60) IS NOT NULL"])
    make_message(make_conversation(), SECRET)
    monkeypatch.setattr(type(slow), "with_words", lambda *_: slow)
    assert "too long" in staff.get("/admin/conversations/conversation/", {"q": SECRET}).content.decode()
    assert "canceling statement due to statement timeout" in logged()
    assert SECRET not in logged()


def test_a_message_that_is_refused(logged: Callable[[], str]) -> None:
    asked = make_message(make_conversation())
    make_running_reply(asked)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_running_reply(asked, SECRET)
    assert "uq_messages_running" in logged()
    assert SECRET not in logged()


def test_a_title_that_is_too_long(logged: Callable[[], str]) -> None:
    conversation = make_conversation()
    with pytest.raises(Exception, match="too long"), transaction.atomic():
        Conversation.objects.filter(id=conversation.id).update(title=SECRET * 100)
    assert "value too long" in logged()
    assert SECRET not in logged()


def test_an_import_that_is_refused(tmp_path: Path, logged: Callable[[], str]) -> None:
    conversation = make_conversation()
    # A message is only restored behind its conversation.
    lines = (
        f'{{"conversation": {{"id": "{conversation.id}", "user_id": "{conversation.user_id}"}}}}\n'
        f'{{"message": {{"conversation_id": "{conversation.id}", "role": "user", "content": "{SECRET}", "feedback": "x"}}}}\n'
    )
    file = tmp_path / "history.jsonl"
    file.write_text(lines)
    with file.open("rb") as source, pytest.raises(ImportProblem):
        import_history(source=source)
    assert "ERROR" in logged()
    assert SECRET not in logged()
