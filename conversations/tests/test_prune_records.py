"""`manage.py prune_records`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from conversations.models import ChatUser, StaffAccess, UsageTotal
from conversations.services.history.pruning.records import prune_records
from conversations.tests.factories import days_ago, make_old_conversation

pytestmark = pytest.mark.django_db
Manage = Callable[..., Any]


def fill() -> None:
    """Make three rows of 400, 200 and 1 days in each table."""
    for number in range(3):
        user_id = UUID(int=number)
        for age in (400, 200, 1):
            UsageTotal.objects.create(user_id=user_id, bucket=days_ago(age), messages=1)
            StaffAccess.objects.create(staff_name="ann", kind="read", conversation_id=uuid4(), at=days_ago(age))
            ChatUser.objects.create(id=uuid4(), email=f"{number}@example.org", last_seen_at=days_ago(age))


def ages(model: Any, field: str) -> list[int]:
    now = timezone.now()
    return sorted(round((now - value) / timedelta(days=1)) for value in model.objects.values_list(field, flat=True))


@pytest.mark.parametrize("batch_rows", [1, 2, 1000])
def test_old_records_go_and_newer_ones_stay(batch_rows: int) -> None:
    fill()
    half_a_year = days_ago(180)
    result = prune_records(
        usage_before=days_ago(300), access_before=half_a_year, users_unseen_since=half_a_year, batch_rows=batch_rows
    )
    assert (result.usage_totals, result.staff_access, result.chat_users, result.is_complete) == (3, 6, 6, True)
    assert ages(UsageTotal, "bucket") == [1, 1, 1, 200, 200, 200]
    assert ages(StaffAccess, "at") == [1, 1, 1]
    assert ages(ChatUser, "last_seen_at") == [1, 1, 1]


def test_a_table_that_is_not_named_keeps_everything(manage_json: Manage) -> None:
    fill()
    summary = manage_json("prune_records", "--access-older-than=1y", "--yes")
    assert summary == {"usage_totals": 0, "staff_access": 3, "chat_users": 0, "changes": 0, "on_hold": 0, "is_complete": True}
    assert (UsageTotal.objects.count(), ChatUser.objects.count()) == (9, 9)


def test_a_user_with_conversations_stays_in_the_directory(manage: Manage) -> None:
    conversation = make_old_conversation(age_days=500)
    for user_id in (conversation.user_id, uuid4()):
        ChatUser.objects.create(id=user_id, last_seen_at=days_ago(500))
    assert "and 1 users." in manage("prune_records", "--users-unseen-for=1y", "--yes")
    assert ChatUser.objects.get().id == conversation.user_id


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--usage-older-than=92d",),
        ("--changes-older-than=29d",),
        ("--access-older-than=soon",),
        ("--access-older-than=1y",),
    ],
)
def test_what_is_not_clear_is_refused(manage: Manage, arguments: tuple[str, ...]) -> None:
    fill()
    # The last one lacks --yes, and there is no terminal.
    confirmed = [] if arguments == ("--access-older-than=1y",) else ["--yes"]
    with pytest.raises(CommandError) as failure:
        manage("prune_records", *arguments, *confirmed)
    assert failure.value.returncode in (1, 2)
    assert (UsageTotal.objects.count(), StaffAccess.objects.count(), ChatUser.objects.count()) == (9, 9, 9)


def test_an_interrupted_run_says_so() -> None:
    fill()
    stops = iter([False, False, True])
    result = prune_records(usage_before=days_ago(0), batch_rows=2, should_stop=lambda: next(stops))
    assert (result.usage_totals, result.is_complete) == (4, False)


@pytest.mark.parametrize("batch_rows", [1, 100, 1000])
def test_old_changes_go_except_the_newest_of_each_user(batch_rows: int) -> None:
    for user in range(3):
        add_changes(UUID(int=user), 300, days=40)
    add_changes(UUID(int=1), 5, days=1)
    result = prune_records(changes_before=days_ago(31), batch_rows=batch_rows)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT user_id, count(*), max(changed_in::text::bigint) FROM conversation_changes WHERE user_id <= %s "
            "GROUP BY 1 ORDER BY 1",
            # Tests with transactions of their own leave those of other users.
            [UUID(int=2)],
        )
        left = cursor.fetchall()
    assert left == [(UUID(int=0), 1, 300), (UUID(int=1), 5, 305), (UUID(int=2), 1, 300)]
    assert (result.changes, result.is_complete) == (898, True)


def add_changes(user_id: UUID, count: int, *, days: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO conversation_changes (user_id, conversation_id, changed_in, changed_at)
            SELECT %(user_id)s, gen_random_uuid(), (number + before.count)::text::xid8, %(at)s
            FROM generate_series(1, %(count)s) AS number,
                (SELECT count(*) FROM conversation_changes WHERE user_id = %(user_id)s) AS before
            """,
            {"user_id": user_id, "count": count, "at": days_ago(days)},
        )
