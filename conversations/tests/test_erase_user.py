"""`manage.py erase_user`."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.cache import caches
from django.core.management import CommandError

from chatapi.auth.caller import Caller
from chatapi.auth.remembered_tokens import RememberedToken, cache_key, forget_tokens_of, recall, remember
from conversations.models import ChatUser, Conversation, ErasedUser, Message, StaffAccess, UserQuota
from conversations.services.history import erase
from conversations.services.replies.stop import STOP_POLL_S
from conversations.tests.conftest import remaining
from conversations.tests.factories import make_old_conversation
from tests.support.valkey import running_valkey

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]


def test_everything_of_the_user_goes_and_nothing_of_others(manage: Manage, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(erase, "BATCH_SIZE", 2)
    user, other = uuid4(), uuid4()
    for number in range(5):
        make_old_conversation(user_id=user, is_favorited=number == 0)
    kept = make_old_conversation(user_id=other)
    ChatUser.objects.create(id=user, email="mira@example.com")
    ChatUser.objects.create(id=other, email="ada@example.com")
    for owner in (user, other):
        UserQuota.objects.create(user_id=owner, tokens_day=5)
    receipt_file = tmp_path / "receipt.json"
    receipt = json.loads(manage("erase_user", str(user), "--yes", "--receipt", str(receipt_file)))
    assert remaining() == {kept.id}
    assert Message.objects.count() == 2
    assert list(ChatUser.objects.values_list("id", flat=True)) == [other]
    assert (receipt["user_id"], receipt["is_complete"]) == (str(user), True)
    assert list(UserQuota.objects.values_list("user_id", flat=True)) == [other]
    assert [receipt[name] for name in ("conversations", "messages", "directory_entries", "quotas")] == [5, 10, 1, 1]
    # Each worker remembers tokens by itself here, so the receipt says how long.
    assert (receipt["remembered_tokens"], bool(receipt["tokens_forgotten_by"])) == (None, True)
    assert json.loads(receipt_file.read_text()) == receipt
    assert "mira" not in receipt_file.read_text()


@pytest.mark.parametrize("options", [("--yes",), ("--dry-run",)])
def test_an_unknown_user_is_said_to_be_unknown(manage: Manage, options: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="Nothing is stored about the user") as failure:
        manage("erase_user", str(uuid4()), *options)
    assert failure.value.returncode == 3


@pytest.mark.parametrize("model", [ChatUser, UserQuota])
def test_a_user_without_conversations_is_erased(manage: Manage, model: Any) -> None:
    user = uuid4()
    model.objects.create(**{"id" if model is ChatUser else "user_id": user})
    receipt = json.loads(manage("erase_user", str(user), "--yes"))
    assert (receipt["conversations"], receipt["is_complete"], model.objects.count()) == (0, True, 0)


def test_a_dry_run_and_a_missing_yes_change_nothing(manage: Manage) -> None:
    conversation = make_old_conversation()
    user = str(conversation.user_id)
    assert json.loads(manage("erase_user", user, "--dry-run"))["messages"] == 2
    with pytest.raises(CommandError, match="--yes"):
        manage("erase_user", user)
    assert remaining() == {conversation.id}
    with pytest.raises(CommandError):
        manage("erase_user", "mira", "--yes")


def test_the_record_of_what_staff_read_stays_and_is_counted(manage: Manage) -> None:
    conversation = make_old_conversation()
    StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=conversation.id, user_id=conversation.user_id)
    receipt = json.loads(manage("erase_user", str(conversation.user_id), "--yes"))
    assert receipt["access_records_kept"] == StaffAccess.objects.count() == 1


def test_the_admin_log_keeps_the_deed_without_the_words(manage: Manage) -> None:
    conversation = make_old_conversation(title="a private title")
    entry = LogEntry.objects.create(
        user=User.objects.create(username="staff"),
        content_type=ContentType.objects.get_for_model(Conversation),
        object_id=str(conversation.id),
        object_repr="a private title",
        action_flag=CHANGE,
        change_message="private",
    )
    manage("erase_user", str(conversation.user_id), "--yes")
    entry.refresh_from_db()
    assert (entry.object_repr, entry.change_message) == ("(erased)", "")


@pytest.mark.django_db(transaction=True)
def test_a_running_reply_is_stopped_before_its_conversation_goes(manage: Manage) -> None:
    """Another worker's reply: it sees the request to stop, saves what it has, and only then is it deleted."""
    conversation = make_old_conversation(last_status="streaming")
    Message.objects.running().update(heartbeat_at=erase.timezone.now())
    saw_request = threading.Event()

    def be_the_other_worker() -> None:
        from django.db import connection

        try:
            for _ in range(int(30 / STOP_POLL_S)):
                if Message.objects.running().filter(conversation=conversation, stop_requested=True).update(status="stopped"):
                    saw_request.set()
                    return
                threading.Event().wait(STOP_POLL_S)
        finally:
            connection.close()

    worker = threading.Thread(target=be_the_other_worker)
    worker.start()
    receipt = json.loads(manage("erase_user", str(conversation.user_id), "--yes"))
    worker.join()
    assert saw_request.is_set()
    assert receipt["replies_stopped"] == 1
    assert not remaining()


def test_remembered_tokens_are_forgotten_in_a_shared_cache(settings: Any) -> None:
    with running_valkey() as server:
        settings.CACHES = {
            "default": {"BACKEND": "chatapi.cache.shared_cache.SharedRedisCache", "LOCATION": server.connection_url}
        }
        user, other = uuid4(), uuid4()
        cache = caches["default"]
        for number, owner in enumerate((user, user, other)):
            remember(cache_key(f"token-{number}"), RememberedToken(Caller(owner, is_admin=False)), 60)
        remember(cache_key("rejected"), RememberedToken(None), 60)
        cache.set("throttle:1", [1])
        assert forget_tokens_of(user) == 2
        assert [recall(cache_key(f"token-{number}")) for number in range(3)] == [
            None,
            None,
            RememberedToken(Caller(other, is_admin=False)),
        ]
        assert cache.get("throttle:1") == [1]


def test_erasing_again_is_no_failure_and_the_tombstone_does_not_name_the_user(manage: Manage) -> None:
    user = make_old_conversation().user_id
    manage("erase_user", str(user), "--yes")
    assert manage("erase_user", str(user), "--yes") == ""
    assert str(user).replace("-", "") not in ErasedUser.objects.get().digest
