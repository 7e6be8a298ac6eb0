"""`move_history --to-cell`, `--from-cell`, `--erase-moved`, `--give-up`: a user leaves and comes back, all in one database."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from chatapi.tests.clients import UserClient
from conversations.exceptions import OnHold
from conversations.models import (
    ChatUser,
    Conversation,
    CreationKey,
    LegalHold,
    Message,
    MovedUser,
    QueuedMessage,
    UserInstructions,
    UserQuota,
    WebhookEvent,
)
from conversations.new_ids import new_id
from conversations.services.history import cells
from conversations.services.history.cells import close_user, states_of
from conversations.services.history.erase import erase_user
from conversations.services.sending.begin import send_turn
from conversations.services.webhooks.outbox import Outbox
from conversations.tests.ending import end
from conversations.tests.factories import make_conversation, make_message, make_reply, make_running_reply
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db
Manage = Callable[..., str]


def fill(user: UserClient) -> Conversation:
    """Give the user something in every table."""
    owner: Any = user.user_id
    conversation = make_conversation(owner, title="Ünïcode \u2028", tags=["a"], tag_keys=["a"], metadata={"k": "v"})
    for number in range(3):
        turn = send_turn(
            conversation_id=conversation.id,
            user_id=owner,
            content=f"question {number}",
            sampling=Sampling(),
            idempotency_key=f"key-{number}",
        )
        end(turn, ("complete", "stopped", "failed")[number], "" if number == 2 else "an answer", model_tag="m")
    asked = make_message(conversation, "edited", is_active=False, was_active=True, left_order=1)
    make_reply(asked, "old", is_active=False, feedback=-1, feedback_comment="no", reasoning="hm", tool_calls=None)
    make_conversation(owner, session_id="s-1", is_archived=True)
    make_conversation(owner, deleted_at=timezone.now(), expires_at=timezone.now())
    CreationKey.objects.create(user_id=owner, key="creation", fingerprint="f", conversation=conversation)
    QueuedMessage.objects.create(
        id=new_id(), conversation=conversation, reply_id=new_id(), place=1, content="later", request={}, is_held=True
    )
    UserInstructions.objects.create(user_id=owner, text="be brief")
    UserQuota.objects.create(user_id=owner, tokens_day=5)
    ChatUser.objects.update_or_create(id=owner, defaults={"email": "mira@example.com", "name": "Mira"})
    return conversation


def move_away(manage: Manage, user: UserClient, folder: Path) -> Path:
    archive = folder / "user.jsonl.gz"
    told = json.loads(manage("move_history", "--from", str(user.user_id), "--to-cell", str(archive)))
    assert told["is_complete"] and told["rows"]["messages"] == 8
    return archive


def test_a_user_leaves_and_comes_back_with_everything(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    fill(user)
    before = states_of(user.user_id)
    assert all(state.rows for state in before.values())
    archive = move_away(manage, user, tmp_path)
    manage("move_history", "--from", str(user.user_id), "--erase-moved", "--yes")
    assert not any(state.rows for state in states_of(user.user_id).values())
    assert not ChatUser.objects.filter(id=user.user_id).exists() and MovedUser.objects.exists()
    told = json.loads(manage("move_history", "--from-cell", str(archive)))
    assert told["is_complete"] and told["differing"] == []
    assert states_of(user.user_id) == before
    assert ChatUser.objects.get(id=user.user_id).email == "mira@example.com"
    # Writes are accepted here again.
    assert user.post("/api/conversations", {}).status_code == 201
    # An interrupted import is run again.
    Message.objects.filter(content="question 1").delete()
    Conversation.objects.filter(created_at__gt=timezone.now() - timedelta(minutes=1)).delete()
    assert json.loads(manage("move_history", "--from-cell", str(archive)))["is_complete"]
    assert states_of(user.user_id) == before


@pytest.mark.django_db(transaction=True)
def test_the_receipt_is_on_one_line_and_in_a_file_if_asked_for(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    fill(user)
    receipt = tmp_path / "receipt.json"
    named = ["--from", str(user.user_id), "--to-cell", str(tmp_path / "user.jsonl.gz")]
    printed = manage("move_history", *named, "--json", "--receipt", str(receipt))
    assert json.loads(printed)["is_complete"] and len(printed.splitlines()) == 1
    assert receipt.read_text() == printed


@pytest.mark.django_db(transaction=True)
def test_writes_are_refused_from_the_switch_on(user: UserClient, stranger: UserClient, manage: Manage, tmp_path: Path) -> None:
    conversation = fill(user)
    reply = Message.objects.filter(conversation=conversation, role="assistant", content="an answer").first()
    move_away(manage, user, tmp_path)
    at = f"/api/conversations/{conversation.id}"
    writes = [
        user.post("/api/conversations", {}),
        user.patch(at, {"title": "another"}),
        user.patch(at, {"is_favorited": True}),
        user.delete(at),
        user.post("/conversations", {"title": "new", "model_tag": "default"}),
        user.post("/v1/conversations", {}),
        user.put("/api/me/instructions", {"instructions": "be long"}),
        user.put(f"{at}/messages/{reply.id}/feedback", {"rating": 1}),
    ]
    assert [answer.status_code for answer in writes] == [503] * len(writes)
    assert all(answer["Retry-After"] for answer in writes)
    assert user.get(at).json()["title"].startswith("Ünïcode")
    assert stranger.post("/api/conversations", {}).status_code == 201
    told = json.loads(manage("move_history", "--from", str(user.user_id), "--give-up"))
    assert told["is_complete"]
    assert user.patch(at, {"title": "another"}).status_code == 200


def test_a_running_reply_may_end_and_then_nothing_changes(user: UserClient) -> None:
    running = make_running_reply(make_message(make_conversation(user.user_id)), "so far")
    MovedUser.objects.create(user_id=user.user_id, begun_at=timezone.now())
    cells._mark()
    Message.objects.filter(id=running.id).update(status="complete")
    close_user(user.user_id, wait_s=0)
    assert MovedUser.objects.get().closed_at is not None


def test_pruning_and_erasing_go_on_where_a_user_was_moved(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    fill(user)
    move_away(manage, user, tmp_path)
    manage("prune_history", "--expired", "--yes")
    assert Conversation.objects.owned_by(user.user_id).count() == 2
    assert erase_user(user_id=user.user_id).is_complete


def test_erasing_what_was_moved_is_no_event(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    fill(user)
    Outbox().keep()
    move_away(manage, user, tmp_path)
    manage("move_history", "--from", str(user.user_id), "--erase-moved", "--yes")
    assert not WebhookEvent.objects.exists()


def test_a_user_on_hold_is_neither_moved_nor_erased(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    fill(user)
    held: Any = {"reason": "file 12", "placed_by": "root", "user_id": user.user_id}
    hold = LegalHold.objects.create(**held)
    archive = tmp_path / "user.jsonl"
    with pytest.raises(CommandError, match="On hold") as refused:
        manage("move_history", "--from", str(user.user_id), "--to-cell", str(archive))
    assert refused.value.returncode == 4 and not MovedUser.objects.exists() and not archive.exists()
    LegalHold.objects.filter(pk=hold.pk).update(released_at=timezone.now())
    manage("move_history", "--from", str(user.user_id), "--to-cell", str(archive))
    LegalHold.objects.create(**held)
    with pytest.raises(CommandError, match="On hold"):
        manage("move_history", "--from", str(user.user_id), "--erase-moved", "--yes")
    # Also if the hold comes during the work.
    with pytest.raises(OnHold):
        cells.erase_moved(user.user_id)
    assert Conversation.objects.owned_by(user.user_id).count() == 3


def test_nothing_is_erased_that_was_not_moved(user: UserClient, manage: Manage) -> None:
    fill(user)
    with pytest.raises(CommandError, match="was not moved"):
        manage("move_history", "--from", str(user.user_id), "--erase-moved", "--yes")
    close_user(user.user_id, wait_s=0)
    with pytest.raises(CommandError, match="was not moved"):
        manage("move_history", "--from", str(user.user_id), "--erase-moved", "--yes")


def test_an_archive_comes_to_a_place_without_other_history(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    fill(user)
    archive = move_away(manage, user, tmp_path)
    with pytest.raises(CommandError, match="still here"):
        manage("move_history", "--from-cell", str(archive))
    manage("move_history", "--from", str(user.user_id), "--give-up")
    make_conversation(user.user_id)
    with pytest.raises(CommandError, match="other history"):
        manage("move_history", "--from-cell", str(archive))
    erase_user(user_id=user.user_id)
    with pytest.raises(CommandError, match="erased"):
        manage("move_history", "--from-cell", str(archive))


def test_a_changed_or_cut_archive_is_refused(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    fill(user)
    archive = tmp_path / "user.jsonl"
    manage("move_history", "--from", str(user.user_id), "--to-cell", str(archive))
    whole = archive.read_bytes()
    manage("move_history", "--from", str(user.user_id), "--erase-moved", "--yes")
    lines = whole.splitlines(keepends=True)
    for name, changed in {
        "cut": whole[:-100],
        "end": b"".join(lines[:-1]),
        "text": whole.replace(b"an answer", b"no answer", 1),
        "other": b"{}\n",
    }.items():
        archive.with_name(name).write_bytes(changed)
        with pytest.raises(CommandError):
            manage("move_history", "--from-cell", str(archive.with_name(name)))
        Conversation.objects.owned_by(user.user_id).delete()
    archive.with_name("usage").write_bytes(
        whole.replace(b'"table":"usage_totals","values":{"', b'"table":"nothing","values":{"')
    )
    with pytest.raises(CommandError, match="usage_totals"):
        manage("move_history", "--from-cell", str(archive.with_name("usage")))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to-cell", "x"],
        ["--from", "11111111-1111-4111-8111-111111111111", "--from-cell", "x"],
        ["--from-cell", "x", "--give-up"],
        ["--from", "11111111-1111-4111-8111-111111111111"],
        [],
    ],
    ids=["no user", "user of an archive", "two actions", "no new owner", "nothing"],
)
def test_other_arguments_are_refused(manage: Manage, arguments: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        manage("move_history", *arguments)
    assert refused.value.returncode == 2


def test_after_a_crash_writes_are_still_refused(user: UserClient, manage: Manage, tmp_path: Path) -> None:
    conversation = fill(user)
    move_away(manage, user, tmp_path)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM change_era_marks")
    assert user.patch(f"/api/conversations/{conversation.id}", {"title": "another"}).status_code == 503
