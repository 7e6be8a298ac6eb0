"""The one plan that PostgreSQL may use for all values of a repeated statement suits a user with ten conversations and one with
thousands, a short conversation and a long one."""

from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.http import QueryDict

from conversations.services.changes import reading as changes
from conversations.services.conversations import require_conversation, update_conversation
from conversations.services.sending.context import Budget
from conversations.services.sending.statements import lock_and_survey
from conversations.surfaces.ai_sdk import queries as chats
from conversations.surfaces.api import queries
from conversations.surfaces.api.responses.conversations import ConversationSchema
from conversations.surfaces.completion import queries as completion
from conversations.surfaces.contract import queries as contract
from conversations.surfaces.sessions import queries as sessions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

BUSY_USER = UUID("00000000-0000-4000-8000-00000000beef")
LONG = UUID("00000000-0000-4000-8000-00000000cafe")
FILL_SQL = """
INSERT INTO conversations (id, user_id, title, model_tag, created_at, updated_at, title_source)
SELECT CASE WHEN n = 1 THEN %(long)s::uuid ELSE gen_random_uuid() END,
       CASE WHEN n <= 5000 THEN %(busy)s::uuid ELSE md5((n / 10)::text)::uuid END,
       'title ' || n, 'default', now() - n * interval '1 minute', now() - n * interval '1 minute', 'user'
-- Not in the order of their time, in which an index would find them side by side.
FROM generate_series(1, 15000) AS n ORDER BY md5(n::text)
"""
MESSAGES_SQL = """
INSERT INTO messages (id, conversation_id, role, content, created_at, status, is_active)
SELECT gen_random_uuid(), c.id, CASE WHEN n % 2 = 0 THEN 'user' ELSE 'assistant' END, 'message ' || n,
       c.created_at + n * interval '1 second', 'complete', true
FROM conversations AS c, generate_series(1, CASE WHEN c.id = %(long)s THEN 5000 ELSE 6 END) AS n
"""


@pytest.fixture(autouse=True)
def many_rows() -> None:
    reset_statements()
    with connection.cursor() as cursor:
        for statement in (FILL_SQL, MESSAGES_SQL):
            cursor.execute(statement.replace(" % 2", " %% 2"), {"busy": BUSY_USER, "long": LONG})
        cursor.execute("ANALYZE conversations, messages")


def use_everything() -> None:
    """Run the statements of the most frequent requests, each in the forms that it has."""
    for text in ("", "limit=5"):
        params = QueryDict(text)
        _, _, cursor = queries.read_conversation_page(BUSY_USER, params, is_favorited=None, title="", offset=0)
        following = QueryDict(f"limit=5&cursor={cursor}")
        queries.read_conversation_page(BUSY_USER, following, is_favorited=None, title="", offset=0)
        queries.read_conversation_page(BUSY_USER, params, is_favorited=True, title="", offset=0)
        older = queries.read_conversation_and_messages(LONG, BUSY_USER).next
        queries.read_messages(LONG, BUSY_USER, params)
        queries.read_messages(LONG, BUSY_USER, QueryDict(f"limit=5&cursor={older}"))
        queries.read_messages(LONG, BUSY_USER, params, versions="all")
        queries.read_conversation_page(BUSY_USER, params, is_favorited=None, title="title 12", offset=0)
        queries.read_conversation_page(BUSY_USER, params, is_favorited=None, title="", offset=0, tag="work")
        queries.read_conversation_page(BUSY_USER, params, is_favorited=None, title="", offset=0, is_archived=True)
        queries.read_trash_page(BUSY_USER, params)
        contract.read_conversation_page(BUSY_USER, params)
        contract.read_conversation(LONG, BUSY_USER)
        contract.read_messages(LONG, params)
        completion.read_conversation_page(BUSY_USER, params)
        sessions.read_history(LONG, params)
        chats.read_chat_page(LONG, params)
        changes.read_page(BUSY_USER, changes.begin(BUSY_USER), 50, ConversationSchema.columns)
        require_conversation(conversation_id=LONG, user_id=BUSY_USER)
        update_conversation(("id",), conversation_id=LONG, user_id=BUSY_USER, changes={"title": "new"})
        with transaction.atomic():
            budget = Budget.left_by("newest", "")
            lock_and_survey(LONG, BUSY_USER, budget, idempotency_key="key", limited=True)


def generic_plans() -> dict[str, list[str]]:
    """Return the lines of the generic plan of each statement that the session has a name for."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        statements = [statement for (statement,) in cursor.fetchall()]
    session: Any = connection.connection
    plans = {}
    for statement in statements:
        # Apart from psycopg, which would take `$1` for a place of its own.
        result = session.pgconn.exec_(b"EXPLAIN (GENERIC_PLAN) " + statement.encode())
        assert result.ntuples, result.error_message
        plans[statement] = [result.get_value(row, 0).decode() for row in range(result.ntuples)]
    return plans


def test_plans_read_no_table_and_sort_no_long_list_whatever_the_values_are() -> None:
    use_everything()
    plans = generic_plans()
    assert len(plans) >= 20
    for statement, plan in plans.items():
        text = "\n".join([statement, *plan])
        assert not [line for line in plan if "Seq Scan on conversations" in line or "Seq Scan on messages" in line], text
        # Below a LIMIT the order comes from an index; an incremental sort orders equal times only.
        limits = [number for number, line in enumerate(plan) if line.strip().removeprefix("->  ").startswith("Limit ")]
        # What changed is in the order of ids. It is looked through to a limit of its own.
        below_limit = plan[limits[0] + 1 :] if limits and "conversation_changes" not in statement else []
        assert not [line for line in below_limit if "->  Sort" in line or "Bitmap" in line], text


def test_each_list_is_read_from_its_own_index() -> None:
    """A value that said which list it is would be unknown to the plan, which then looked through all of the user's."""
    for shown, index in {"favorites": "own_favorite", "archived": "archived", "all": "unarchived"}.items():
        reset_statements()
        is_favorited, is_archived = shown == "favorites" or None, shown == "archived"
        for title in ("", "title 12"):
            queries.read_conversation_page(
                BUSY_USER, QueryDict(""), is_favorited=is_favorited, title=title, offset=0, is_archived=is_archived
            )
        plans = {statement: "\n".join(plan) for statement, plan in generic_plans().items() if "OFFSET" in statement}
        assert len(plans) >= 2
        for plan in plans.values():
            assert f"idx_conversations_{index}" in plan, plan


def reset_statements() -> None:
    connection.close()
    connection.pool.drain()  # type: ignore[attr-defined]


def test_an_opened_conversation_is_read_in_the_order_of_an_index() -> None:
    use_everything()
    opening = [
        plan for statement, plan in generic_plans().items() if statement.strip().startswith("SELECT id, role, CASE WHEN")
    ]
    plans = ["\n".join(plan) for plan in opening]
    assert [("Sort" in plan, "Bitmap" in plan, "idx_messages_in_order" in plan) for plan in plans] == [(False, False, True)]


def test_running_replies_are_found_in_their_own_index() -> None:
    use_everything()
    lists = {
        statement: plan
        for statement, plan in generic_plans().items()
        if " AND status = 'streaming'" in statement or "\"status\" = 'streaming'" in statement
    }
    assert len(lists) >= 3
    for statement, plan in lists.items():
        assert [line for line in plan if "uq_messages_running" in line], "\n".join([statement, *plan])


def test_a_page_after_a_cursor_is_planned_for_its_values() -> None:
    use_everything()
    assert not [statement for statement in generic_plans() if 'created_at" <= ' in statement or 'updated_at" <= ' in statement]
    _, _, cursor = queries.read_conversation_page(BUSY_USER, QueryDict(""), is_favorited=None, title="", offset=0)
    with transaction.atomic():
        following = QueryDict(f"limit=5&cursor={cursor}")
        queries.read_conversation_page(BUSY_USER, following, is_favorited=None, title="", offset=0)
        assert plan_cache_mode() == "force_custom_plan"
    assert plan_cache_mode() == "force_generic_plan"


def plan_cache_mode() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW plan_cache_mode")
        return str(cursor.fetchone()[0])


def test_no_statement_is_planned_each_time() -> None:
    """Left to itself, PostgreSQL planned lists and surveys anew as their tables grew: half of what a list costs it."""
    use_everything()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE conversations, messages")
    use_everything()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE custom_plans > 0")
        assert cursor.fetchall() == []
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE generic_plans > 1")
        assert cursor.fetchone()[0] >= 20
