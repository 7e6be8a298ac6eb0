"""`manage.py move_history`: everything of one user becomes another's."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from conversations.models import ChatUser, Conversation, CreationKey, Message, UsageTotal, UserInstructions, UserQuota
from conversations.services.history import move
from conversations.services.history.erase import erase_user
from conversations.services.history.move import count_to_move, move_history
from conversations.services.replies.store import live_replies
from conversations.services.sending.begin import send_turn
from conversations.tests.concurrency import with_own_connections
from conversations.tests.factories import make_conversation, make_message, make_old_conversation, make_running_reply, make_turns
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]
MIRA, SAM = UUID("11111111-1111-4111-8111-111111111111"), UUID("22222222-2222-4222-8222-222222222222")
HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)


def owners() -> dict[str, UUID | None]:
    return dict(Conversation.objects.values_list("title", "user_id"))


def move_all(**more: Any) -> move.MoveReceipt:
    return move_history(from_user=MIRA, to_user=SAM, **more)


def test_conversations_change_their_owner_and_nothing_else() -> None:
    at = timezone.now()
    make_turns(make_conversation(MIRA, title="plain"), 2)
    make_conversation(MIRA, title="archived", is_archived=True, is_favorited=True)
    make_conversation(MIRA, title="temporary", expires_at=at + timedelta(days=1))
    make_conversation(MIRA, title="in the trash", deleted_at=at, expires_at=at)
    make_conversation(MIRA, title="unlisted", is_listed=False)
    make_conversation(SAM, title="Sam's")
    make_conversation(None, title="anonymous")
    other = make_conversation(uuid4(), title="another's")
    columns = {row["id"]: row for row in Conversation.objects.values()}
    messages = list(Message.objects.order_by("id").values())
    receipt = move_all()
    assert receipt.is_complete and (receipt.conversations, receipt.messages, receipt.sessions_renamed) == (5, 4, 0)
    for row in Conversation.objects.values():
        before = columns[row["id"]]
        owner = SAM if before["user_id"] == MIRA else before["user_id"]
        assert row == {**before, "user_id": owner}
    assert list(Message.objects.order_by("id").values()) == messages
    assert owners()["another's"] == other.user_id and owners()["anonymous"] is None
    again = move_all()
    assert again.is_complete and again.conversations == 0


def test_sessions_get_names_that_are_free() -> None:
    for title, owner, name in (
        ("mine", MIRA, "kitchen"),
        ("mine too", MIRA, "kitchen.3"),
        ("other", MIRA, "garden"),
        ("long", MIRA, "x" * 200),
        ("theirs", SAM, "kitchen"),
        ("theirs too", SAM, "kitchen.2"),
        ("their long one", SAM, "x" * 200),
    ):
        make_conversation(owner, title=title, session_id=name)
    assert count_to_move(from_user=MIRA, to_user=SAM).sessions_renamed == 2
    assert move_all().sessions_renamed == 2
    names = dict(Conversation.objects.owned_by(SAM).values_list("title", "session_id"))
    assert names == {
        "mine": "kitchen.4",
        "mine too": "kitchen.3",
        "other": "garden",
        "long": "x" * 196 + ".2",
        "theirs": "kitchen",
        "theirs too": "kitchen.2",
        "their long one": "x" * 200,
    }


def test_who_has_used_up_the_numbers_gets_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 60):
        make_conversation(SAM, title=f"{number}", session_id="kitchen" if number == 1 else f"kitchen.{number}")
    make_conversation(MIRA, title="mine", session_id="kitchen")
    assert move_all().sessions_renamed == 1
    assert UUID(Conversation.objects.get(title="mine").session_id)


def test_usage_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "USAGE_BATCH", 2)
    for number in range(5):
        bucket = HOUR + timedelta(minutes=15 * number)
        UsageTotal.objects.create(
            user_id=MIRA, bucket=bucket, messages=1, replies=2, tokens=3, prompt_tokens=4, inference_time_ms=5
        )
    UsageTotal.objects.create(
        user_id=SAM, bucket=HOUR, messages=10, replies=10, tokens=10, prompt_tokens=10, inference_time_ms=10
    )
    assert move_all().usage_totals == 5
    assert not UsageTotal.objects.filter(user_id=MIRA).exists()
    totals = list(
        UsageTotal.objects.order_by("bucket").values_list("messages", "replies", "tokens", "prompt_tokens", "inference_time_ms")
    )
    assert totals == [(11, 12, 13, 14, 15)] + [(1, 2, 3, 4, 5)] * 4
    assert move_all().usage_totals == 0


@pytest.mark.parametrize("has_own", [False, True])
def test_limits_and_instructions_of_the_new_owner_stay(has_own: bool) -> None:
    UserQuota.objects.create(user_id=MIRA, tokens_day=5)
    UserInstructions.objects.create(user_id=MIRA, text="Mira's")
    if has_own:
        UserQuota.objects.create(user_id=SAM, tokens_day=7)
        UserInstructions.objects.create(user_id=SAM, text="Sam's")
    counted, receipt = count_to_move(from_user=MIRA, to_user=SAM), move_all()
    found = [receipt.quotas_moved, receipt.quotas_deleted, receipt.instructions_moved, receipt.instructions_deleted]
    assert found == ([0, 1, 0, 1] if has_own else [1, 0, 1, 0])
    assert [counted.quotas_moved, counted.quotas_deleted, counted.instructions_moved, counted.instructions_deleted] == found
    assert list(UserQuota.objects.values_list("user_id", "tokens_day")) == [(SAM, 7 if has_own else 5)]
    assert list(UserInstructions.objects.values_list("user_id", "text")) == [(SAM, "Sam's" if has_own else "Mira's")]


def test_keys_of_creations_go_along() -> None:
    made = [make_conversation(user_id, title=f"{user_id}") for user_id in (MIRA, SAM)]
    for conversation, key in ((made[0], "one"), (made[0], "both"), (made[1], "both")):
        CreationKey.objects.create(user_id=conversation.user_id, key=key, fingerprint="", conversation=conversation)
    move_all()
    keys = dict(CreationKey.objects.values_list("key", "conversation_id"))
    assert keys == {"one": made[0].id, "both": made[1].id}
    assert {*CreationKey.objects.values_list("user_id", flat=True)} == {SAM}


def test_it_is_interrupted_and_goes_on() -> None:
    for number in range(7):
        make_conversation(MIRA, title=f"{number}")
    UsageTotal.objects.create(user_id=MIRA, bucket=HOUR)
    batches: list[int] = []
    receipt = move_all(
        batch_size=3, should_stop=lambda: len(batches) == 2, on_batch=lambda so_far: batches.append(so_far.conversations)
    )
    assert (receipt.is_complete, receipt.conversations, batches) == (False, 6, [3, 6])
    assert UsageTotal.objects.filter(user_id=MIRA).exists()
    receipt = move_all(batch_size=3)
    assert (receipt.is_complete, receipt.conversations) == (True, 1)
    assert {*owners().values()} == {SAM} and UsageTotal.objects.filter(user_id=SAM).exists()


def test_a_batch_that_fails_is_moved_whole_or_not_at_all(manage: Manage) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE conversations ADD CONSTRAINT refused CHECK (title <> 'b' OR user_id <> '{SAM}')")
    for title in ("a", "b"):
        make_conversation(MIRA, title=title)
    with pytest.raises(CommandError, match="refused") as failed:
        manage("move_history", "--from", str(MIRA), "--to", str(SAM), "--yes")
    assert failed.value.returncode == 1
    assert {*owners().values()} == {MIRA}


def test_a_running_reply_goes_on_and_counts_for_the_new_owner() -> None:
    conversation = make_conversation(MIRA, title="running")
    reply = make_running_reply(make_message(conversation), "so far")
    assert move_all().conversations == 1
    reply.refresh_from_db()
    assert reply.status == "streaming"
    live_replies.expect_no_longer(reply.id)


@pytest.mark.django_db(transaction=True)
def test_sends_meanwhile_are_refused_or_moved() -> None:
    """Whoever gets the lock first: no message is lost, and none belongs to a user who no longer has the conversation."""
    conversations = [make_conversation(MIRA, title=f"{number}") for number in range(4)]

    def act(number: int) -> Any:
        if number == 0:
            return move_all(batch_size=1)
        chosen = conversations[number - 1]
        turn = send_turn(conversation_id=chosen.id, user_id=MIRA, content="hello", sampling=Sampling())
        live_replies.expect_no_longer(turn.reply_id)
        return turn

    receipt, *turns = with_own_connections(act, times=5)
    assert receipt.is_complete and {*owners().values()} == {SAM}
    sent = [turn for turn in turns if not isinstance(turn, Exception)]
    assert {type(turn).__name__ for turn in turns if isinstance(turn, Exception)} <= {"ConversationNotFound"}
    assert Message.objects.count() == 2 * len(sent)


@pytest.mark.django_db(transaction=True)
def test_two_at_once_move_everything_once() -> None:
    for number in range(20):
        make_conversation(MIRA, title=f"{number}", session_id=f"s{number}")
    UsageTotal.objects.create(user_id=MIRA, bucket=HOUR, tokens=7)
    receipts = with_own_connections(lambda number: move_all(batch_size=3), times=3)
    assert sum(receipt.conversations for receipt in receipts) == 20
    assert UsageTotal.objects.get().tokens == 7 and {*owners().values()} == {SAM}


def test_the_command_prints_a_receipt(manage: Manage, tmp_path: Path) -> None:
    ChatUser.objects.create(id=MIRA, email="mira@example.com")
    conversation = make_old_conversation(user_id=MIRA, title="a secret title")
    arguments = ("move_history", "--from", "Mira@Example.com", "--to", str(SAM))
    dry = json.loads(manage(*arguments, "--dry-run"))
    assert (dry["conversations"], dry["messages"], dry["is_complete"]) == (1, 2, False)
    conversation.refresh_from_db()
    assert conversation.user_id == MIRA
    file = tmp_path / "receipt.json"
    said = manage(*arguments, "--yes", "--receipt", str(file))
    receipt = json.loads(said)
    assert json.loads(file.read_text()) == receipt and "secret" not in said
    assert (receipt["from_user"], receipt["to_user"], receipt["conversations"]) == (str(MIRA), str(SAM), 1)
    assert receipt["is_complete"] and receipt["not_covered"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--from", str(MIRA), "--to", str(MIRA), "--yes"), 2),
        (("--from", str(MIRA), "--to", str(SAM)), 2),
        (("--from", str(SAM), "--to", str(MIRA), "--yes"), 3),
        (("--from", "nobody@example.com", "--to", str(SAM), "--yes"), 3),
        (("--from", str(MIRA), "--to", "nobody@example.com", "--yes"), 2),
        (("--from", "x", "--to", str(SAM), "--yes"), 1),
        (("--from", str(MIRA), "--yes"), 2),
    ],
    ids=["the same", "not confirmed", "unknown", "unknown address", "unknown owner", "malformed", "no owner"],
)
def test_what_is_refused(manage: Manage, arguments: tuple[str, ...], code: int) -> None:
    make_conversation(MIRA, title="mine")
    with pytest.raises(CommandError) as refused:
        manage("move_history", *arguments)
    assert refused.value.returncode == code and owners() == {"mine": MIRA}


def test_an_erased_user_gets_nothing(manage: Manage) -> None:
    make_conversation(MIRA, title="mine")
    make_conversation(SAM, title="theirs")
    erase_user(user_id=SAM)
    with pytest.raises(CommandError, match="erased") as refused:
        manage("move_history", "--from", str(MIRA), "--to", str(SAM), "--yes")
    assert refused.value.returncode == 2 and owners() == {"mine": MIRA}
