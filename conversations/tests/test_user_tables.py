"""The list of the tables about a user, which erasing, moving and exporting use."""

from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone

from conversations.models import (
    ChatUser,
    CreationKey,
    EarlyStop,
    ExportHold,
    LegalHold,
    MovedUser,
    RefusedRequests,
    RetentionRule,
    StaffAccess,
    UsageTotal,
    UserInstructions,
    UserQuota,
)
from conversations.services.history.erase import erase_user
from conversations.services.history.move import move_history
from conversations.services.history.user_tables import BY_NAME, USER_TABLES, is_known_user
from conversations.tests.factories import make_conversation

pytestmark = pytest.mark.django_db
# Of this run alone: what other tests have committed stays in tables that no model describes.
MIRA, SAM = uuid4(), uuid4()
COLUMNS_SQL = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND data_type = 'uuid' AND (column_name LIKE '%user%' OR table_name LIKE '%user%')
"""


def make_rows_in_every_table(user_id: UUID) -> None:
    now = timezone.now()
    conversation = make_conversation(user_id)
    CreationKey.objects.create(user_id=user_id, key="key", fingerprint="", conversation=conversation)
    UsageTotal.objects.create(user_id=user_id, bucket=now)
    RefusedRequests.objects.create(user_id=user_id, day=now.date())
    UserQuota.objects.create(user_id=user_id, tokens_day=5)
    UserInstructions.objects.create(user_id=user_id, text="be short")
    EarlyStop.objects.create(user_id=user_id, name="chat", stopped_at=now)
    ExportHold.objects.create(user_id=user_id, holder=user_id, held_until=now)
    # One that has ended: nothing is erased or moved before.
    LegalHold.objects.create(user_id=user_id, reason="file 12", placed_by="root", released_at=now)
    RetentionRule.objects.create(user_id=user_id, days=90)
    StaffAccess.objects.create(staff_name="sue", kind="read", conversation_id=conversation.id, user_id=user_id)
    ChatUser.objects.create(id=user_id, email=f"{user_id}@example.com")
    MovedUser.objects.create(user_id=user_id, begun_at=now)


def tables_of(user_id: UUID) -> set[str]:
    return {table.name for table in USER_TABLES if table.has(user_id)}


def names(**wanted: object) -> set[str]:
    return {table.name for table in USER_TABLES if all(getattr(table, name) == value for name, value in wanted.items())}


def test_it_has_every_column_with_a_user() -> None:
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS_SQL)
        found = set(cursor.fetchall())
    assert found == {(table.name, table.user_column) for table in USER_TABLES}


def test_rows_are_counted_per_user() -> None:
    make_rows_in_every_table(MIRA)
    assert tables_of(MIRA) == set(BY_NAME) and not tables_of(SAM)
    assert all(table.count(MIRA) >= 1 and not table.count(SAM) for table in USER_TABLES)
    assert is_known_user(user_id=MIRA) and not is_known_user(user_id=SAM)


def test_erasing_leaves_what_the_list_says_and_others_alone() -> None:
    for user_id in (MIRA, SAM):
        make_rows_in_every_table(user_id)
    receipt = erase_user(user_id=MIRA).as_json()
    assert tables_of(MIRA) == names(when_erased="kept") and tables_of(SAM) == set(BY_NAME)
    counted = {table.counted_as: receipt[table.counted_as] for table in USER_TABLES if table.counted_as}
    assert all(count >= 1 for count in counted.values()), counted


@pytest.mark.parametrize("has_own", [False, True])
def test_moving_leaves_what_the_list_says(has_own: bool) -> None:
    make_rows_in_every_table(MIRA)
    if has_own:
        make_rows_in_every_table(SAM)
    assert move_history(from_user=MIRA, to_user=SAM).is_complete
    assert tables_of(MIRA) == names(when_moved="stays")
    assert tables_of(SAM) >= names(when_moved="statement") | names(when_moved="one row")
