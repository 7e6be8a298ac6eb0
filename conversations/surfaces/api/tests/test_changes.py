"""GET /api/changes: what changed since a cursor"""

import importlib
import threading
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, Message, Status
from conversations.models.queue import QueuedMessage
from conversations.services.changes import reading
from conversations.services.changes.cursors import Cursor
from conversations.services.conversations import delete_conversations
from conversations.services.history.erase import erase_user
from conversations.services.history.pruning.prune import PruneCriteria, prune_history
from conversations.surfaces.api.responses.conversations import ConversationSchema
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply

# What one transaction has not committed is told to nobody, not even to itself.
pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/changes"


class Copy:
    """What a client knows: the cursor, and what the last answer told."""

    def __init__(self, user: UserClient) -> None:
        self._user = user
        self.cursor = user.get(ADDRESS).json()["next"]
        self.has_more = False

    def read(self, limit: int = 200) -> tuple[list[dict[str, Any]], list[str]]:
        answer = self._user.get(ADDRESS, {"since": self.cursor, "limit": limit})
        assert answer.status_code == 200, answer.content
        body = answer.json()
        assert len(body["conversations"]) + len(body["deleted"]) <= limit
        self.cursor, self.has_more = body["next"], body["has_more"]
        return body["conversations"], body["deleted"]

    def told(self) -> list[str]:
        """Return the ids that the next answer tells, of those that are there and of those that are gone."""
        shown, deleted = self.read()
        assert not self.has_more
        return [item["id"] for item in shown] + [f"- {gone}" for gone in deleted]


def test_without_a_cursor_there_is_only_the_one_of_now(user: UserClient) -> None:
    make_conversation(user.user_id)
    body = user.get(ADDRESS).json()
    assert (body["conversations"], body["deleted"], body["has_more"]) == ([], [], False)
    assert isinstance(body["next"], str)


def test_a_new_conversation_is_told_once_as_the_list_shows_it(user: UserClient) -> None:
    copy = Copy(user)
    made = user.post("/api/conversations", {"title": "Tea", "tags": ["Green"]}).json()
    assert copy.read() == ([made], [])
    assert user.get("/api/conversations").json()["items"] == [made]
    assert copy.read() == ([], [])


def test_only_the_own_conversations_are_told(user: UserClient, stranger: UserClient) -> None:
    copy = Copy(user)
    make_conversation(stranger.user_id)
    make_conversation(None)
    assert copy.told() == []


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Coffee"},
        {"is_favorited": True},
        {"is_archived": True},
        {"tags": ["green"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_user_puts_in_order_is_told_once(change: dict[str, Any], user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    copy = Copy(user)
    changed = user.patch(f"/api/conversations/{conversation.id}", change).json()
    assert copy.read() == ([changed], [])
    # The same again changes nothing.
    user.patch(f"/api/conversations/{conversation.id}", change)
    assert copy.read() == ([], [])


def test_a_reply_that_begins_and_one_that_ends_are_told(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    asked = make_message(conversation)
    copy = Copy(user)
    reply = make_running_reply(asked)
    Conversation.objects.filter(id=conversation.id).update(updated_at=timezone.now())
    [[begun], _] = copy.read()
    assert begun["running_message_id"] == str(reply.id)
    # A checkpoint is no change.
    Message.objects.filter(id=reply.id).update(content="half")
    assert copy.told() == []
    Message.objects.filter(id=reply.id).update(content="whole", status=Status.COMPLETE)
    [[ended], _] = copy.read()
    assert (ended["id"], ended["running_message_id"]) == (str(conversation.id), None)
    assert copy.told() == []


def test_deleted_conversations_are_told_by_their_ids(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    make_reply(make_message(conversation))
    copy = Copy(user)
    user.delete(f"/api/conversations/{conversation.id}")
    assert copy.told() == [f"- {conversation.id}"]
    assert copy.told() == []


def test_the_trash_is_told_as_gone_and_a_restored_conversation_as_there(user: UserClient, settings: Any) -> None:
    settings.TRASH_DAYS = 30
    conversation = make_conversation(user.user_id)
    copy = Copy(user)
    user.delete(f"/api/conversations/{conversation.id}")
    assert copy.told() == [f"- {conversation.id}"]
    user.post(f"/api/conversations/{conversation.id}/restore")
    assert copy.told() == [str(conversation.id)]


def test_temporary_chats_are_not_told_until_they_are_gone(user: UserClient) -> None:
    copy = Copy(user)
    conversation = make_conversation(user.user_id, expires_at=timezone.now() + timedelta(hours=1))
    assert copy.told() == []
    Conversation.objects.filter(id=conversation.id).update(expires_at=timezone.now())
    assert copy.told() == [f"- {conversation.id}"]


def test_a_conversation_that_gets_another_user_is_told_to_both(user: UserClient, stranger: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    mine, theirs = Copy(user), Copy(stranger)
    Conversation.objects.filter(id=conversation.id).update(user_id=stranger.user_id)
    assert mine.told() == [f"- {conversation.id}"]
    assert theirs.told() == [str(conversation.id)]


def test_a_transaction_that_commits_late_is_told_late(user: UserClient) -> None:
    early, late = make_conversation(user.user_id), make_conversation(user.user_id)
    copy = Copy(user)
    has_changed, may_commit = threading.Event(), threading.Event()

    def change_slowly() -> None:
        try:
            with transaction.atomic():
                Conversation.objects.filter(id=late.id).update(title="late")
                has_changed.set()
                assert may_commit.wait(20)
        finally:
            connection.close()

    writer = threading.Thread(target=change_slowly)
    writer.start()
    assert has_changed.wait(20)
    Conversation.objects.filter(id=early.id).update(title="early")
    assert copy.told() == [str(early.id)]
    # The cursor is now beyond a transaction with a higher number.
    assert copy.told() == []
    may_commit.set()
    writer.join()
    assert copy.told() == [str(late.id)]
    assert copy.told() == []


def test_pages_tell_everything_once_with_any_limit(user: UserClient) -> None:
    copy = Copy(user)
    made = {str(make_conversation(user.user_id).id) for _ in range(7)}
    Conversation.objects.update(is_favorited=True)
    told = []
    for _ in range(9):
        shown, _ = copy.read(limit=1)
        told += [item["id"] for item in shown]
    assert sorted(told) == sorted(made)
    assert not copy.has_more


def test_what_changes_again_between_two_pages_is_told_in_its_last_state_only(user: UserClient) -> None:
    copy = Copy(user)
    first, second, third = (make_conversation(user.user_id).id for _ in range(3))
    assert [item["id"] for item in copy.read(limit=1)[0]] == [str(first)]
    Conversation.objects.filter(id__in=[first, third]).update(title="again")
    told = []
    while True:
        shown, _ = copy.read(limit=1)
        told += [(item["id"], item["title"]) for item in shown]
        if not copy.has_more:
            break
    assert told == [(str(second), "New conversation"), (str(first), "again"), (str(third), "again")]


def test_more_than_one_answer_looks_through_is_told_in_parts(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_EXAMINED", 3)
    copy = Copy(user)
    made = [str(make_conversation(user.user_id).id) for _ in range(8)]
    told: list[str] = []
    rounds = 0
    while copy.has_more or not rounds:
        told += [item["id"] for item in copy.read(limit=2)[0]]
        rounds += 1
    assert sorted(told) == sorted(made)


def test_many_changes_in_one_transaction_are_told_page_by_page(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_EXAMINED", 3)
    made = {str(make_conversation(user.user_id).id) for _ in range(8)}
    copy = Copy(user)
    Conversation.objects.update(title="all")
    told: list[str] = []
    rounds = 0
    while copy.has_more or not rounds:
        told += [item["id"] for item in copy.read(limit=2)[0]]
        rounds += 1
    assert sorted(told) == sorted(made)


@pytest.mark.parametrize("cursor", ["", "nonsense", "AAAA", "ö", "A" * 20_000])
def test_a_cursor_that_nobody_gave_out_has_expired(cursor: str, user: UserClient) -> None:
    answer = user.get(ADDRESS, {"since": cursor})
    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")


@pytest.mark.parametrize(
    "other",
    [{"place": 5}, {"era": uuid.UUID(int=5)}, {"issued_at": 1_600_000_000}, {"newest": 2**40}],
    ids=lambda other: next(iter(other)),
)
def test_an_old_cursor_or_one_of_another_history_has_expired(other: dict[str, Any], user: UserClient) -> None:
    cursor = replace(Cursor.decode(Copy(user).cursor), **other)
    answer = user.get(ADDRESS, {"since": cursor.encode()})
    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many", ""])
def test_a_wrong_limit_is_refused(limit: str, user: UserClient) -> None:
    answer = user.get(ADDRESS, {"limit": limit})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


def test_one_query_tells_how_many_changed(user: UserClient, django_assert_num_queries: Any) -> None:
    copy = Copy(user)
    for _ in range(20):
        make_running_reply(make_message(make_conversation(user.user_id)))
    with django_assert_num_queries(1):
        assert len(copy.told()) == 20


def test_what_staff_and_commands_delete_is_told(user: UserClient) -> None:
    old, deleted = make_conversation(user.user_id), make_conversation(user.user_id)
    copy = Copy(user)
    delete_conversations(conversation_ids=[deleted.id])
    assert copy.told() == [f"- {deleted.id}"]
    prune_history(criteria=PruneCriteria(user_id=user.user_id, older_than=timezone.now()))
    assert copy.told() == [f"- {old.id}"]


def test_cursors_of_an_erased_user_expire(user: UserClient) -> None:
    make_conversation(user.user_id)
    copy = Copy(user)
    assert erase_user(user_id=user.user_id).changes > 0
    assert user.get(ADDRESS, {"since": copy.cursor}).status_code == 410


def test_a_change_by_another_user_of_the_database_is_noted() -> None:
    """The predecessor may have a role of its own, which has rights on its own two tables only."""
    conversation = make_conversation(uuid.uuid4())
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE predecessor")
        try:
            cursor.execute("GRANT SELECT, UPDATE ON conversations, messages TO predecessor")
            cursor.execute("SET ROLE predecessor")
            cursor.execute("UPDATE conversations SET title = 'theirs' WHERE id = %s", [conversation.id])
            cursor.execute("RESET ROLE")
            cursor.execute("SELECT count(*) FROM conversation_changes WHERE conversation_id = %s", [conversation.id])
            assert cursor.fetchone() == (2,)
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP OWNED BY predecessor")
            cursor.execute("DROP ROLE predecessor")


def test_all_that_lists_show_is_compared() -> None:
    noted = importlib.import_module("conversations.migrations.0050_changes").SHOWN
    assert set(ConversationSchema.columns) - {"id", "user_id", "running_message_id"} <= set(noted)


def test_a_message_that_waits_is_told(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    copy = Copy(user)
    waiting = QueuedMessage.objects.create(
        id=uuid.uuid4(), conversation=conversation, reply_id=uuid.uuid4(), place=1, content="next", request={}
    )
    assert copy.told() == [str(conversation.id)]
    waiting.delete()
    assert copy.told() == [str(conversation.id)]
