"""What the admin's pages cost in a large table: each query is run again on 50,000 messages, and the rows that it reads counted.

Rows read are counted, not seconds: they say what the same query would cost among ten million messages.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from conversations.models import Conversation, Message, StaffAccess
from conversations.tests.factories import USER_ID

from .factories import TRACE_ID

pytestmark = pytest.mark.django_db

MESSAGES = 50_000
# The list counts up to 5,000 rows; nothing may read more of a table than a small multiple of that.
MOST_ROWS_READ = 12_000
MOST_QUERIES = 20
LIST = "/admin/conversations/conversation/"

SEED_SQL = (
    """
INSERT INTO chat_users (id, email, name, last_seen_at)
SELECT md5('user' || n)::uuid, 'user' || n || '@example.com', 'User ' || n, now() - n * interval '1 minute'
FROM generate_series(1, 2000) AS n
""",
    """
INSERT INTO conversations (id, user_id, title, model_tag, is_favorited, is_archived, tags, tag_keys, created_at, updated_at)
SELECT md5('conversation' || n)::uuid, CASE WHEN n %% 10 = 0 THEN %(user)s::uuid ELSE md5('user' || (n %% 2000))::uuid END,
       'Conversation number ' || n, CASE WHEN n %% 500 = 0 THEN 'rare' ELSE 'default' END, n %% 400 = 0,
       n %% 300 = 0, CASE WHEN n %% 200 = 0 THEN ARRAY['Rare'] END, CASE WHEN n %% 200 = 0 THEN ARRAY['rare'] END,
       now() - n * interval '6 minutes', now() - n * interval '5 minutes'
FROM generate_series(1, 15000) AS n
""",
    """
INSERT INTO messages (id, conversation_id, role, content, status, error_code, feedback, token_count, first_token_ms,
                      inference_time_ms, created_at)
SELECT md5('message' || n)::uuid, md5('conversation' || (1 + n / 4))::uuid,
       CASE WHEN n %% 2 = 0 THEN 'user' ELSE 'assistant' END,
       'the word' || n || ' stands among others. ' || repeat('Filling. ', 20),
       CASE WHEN n %% 50 = 1 THEN 'failed' WHEN n %% 70 = 3 THEN 'interrupted' ELSE 'complete' END,
       CASE WHEN n %% 50 = 1 THEN 'upstream_error' END, CASE WHEN n %% 101 = 7 THEN 1 WHEN n %% 103 = 7 THEN -1 END,
       CASE WHEN n %% 2 = 1 THEN 20 END, CASE WHEN n %% 2 = 1 THEN 100 + n %% 300 END,
       CASE WHEN n %% 2 = 1 THEN 900 + n %% 3000 END,
       now() - n * interval '90 seconds'
FROM generate_series(1, %(messages)s) AS n
""",
)
LONG_SQL = (
    "INSERT INTO conversations (id, title, updated_at) VALUES (%(long)s::uuid, 'Endless', now() - interval '1 year')",
    """
INSERT INTO messages (id, conversation_id, role, content, created_at)
SELECT md5('long' || n)::uuid, %(long)s::uuid, 'assistant', 'line', now() - interval '1 year' + n * interval '1 second'
FROM generate_series(1, 5000) AS n
""",
)
LONG_ID = "99999999-9999-4999-8999-999999999999"


@pytest.fixture(scope="module", autouse=True)
def large_tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Fill the tables for this module's tests, and empty them after."""
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            values = {"user": USER_ID, "messages": MESSAGES, "long": LONG_ID}
            # Without the triggers for the predecessor's rows: each would look at the whole conversation.
            cursor.execute("SET session_replication_role = replica")
            for statement in (*SEED_SQL, *LONG_SQL):
                cursor.execute(statement, values)
            cursor.execute("RESET session_replication_role")
            for table in ("messages", "conversations", "chat_users"):
                cursor.execute(f"VACUUM ANALYZE {table}")
        connection.close()
    yield
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE conversations, messages, chat_users CASCADE")
        connection.close()


PAGES = {
    "list": LIST,
    "last page of the list": f"{LIST}?p=100",
    "by title": f"{LIST}?q=number+777",
    "by a rare word": f"{LIST}?q=word4242",
    "by a word in every message": f"{LIST}?q=the",
    "by e-mail": f"{LIST}?q=user17@example.com",
    "by user": f"{LIST}?q={USER_ID}",
    "by an unknown id": f"{LIST}?q=12345678-1234-4123-8123-123456789012",
    "one box, a rare word": f"{LIST}find/?q=word4242",
    "one box, a word in every message": f"{LIST}find/?q=the",
    "one box, an address": f"{LIST}find/?q=user17@",
    "one box, a session or trace": f"{LIST}find/?q={TRACE_ID}",
    "feedback": f"{LIST}feedback/",
    "feedback of a rare model": f"{LIST}feedback/?model=rare&state=all&q=x",
    "failures": f"{LIST}failures/?period=month",
    "failures of a model": f"{LIST}failures/?period=month&model=&code=upstream_error",
    "last reply failed": f"{LIST}?last_reply=failed",
    "last reply complete": f"{LIST}?last_reply=complete",
    "last reply running": f"{LIST}?last_reply=streaming",
    "trouble": f"{LIST}?trouble=both",
    "thumbs down": f"{LIST}?feedback=down",
    "rare model": f"{LIST}?model=rare",
    "favourites": f"{LIST}?is_favorited__exact=1",
    "archived": f"{LIST}?is_archived__exact=1",
    "trash": f"{LIST}?trash=1",
    "tag": f"{LIST}?tag=RARE",
    "an endless conversation": f"{LIST}{LONG_ID}/change/",
    "deleting an endless conversation": f"{LIST}{LONG_ID}/delete/",
    "users": "/admin/conversations/chatuser/",
    "users by e-mail": "/admin/conversations/chatuser/?q=user17",
    "a user": f"/admin/conversations/chatuser/{USER_ID}/change/",
    "erasing a user": f"/admin/conversations/chatuser/{USER_ID}/erase/",
    "dashboard": f"{LIST}dashboard/",
}
# A day's conversations are joined with their table, which is as a whole no larger than this here.
# A reply that is complete is told from one that isn't by looking at up to 5,000 conversations' last messages.
MAY_READ = {"dashboard": 15_001, "last reply complete": 30_000}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_little_of_a_large_table(superuser: Client, name: str) -> None:
    # Who is signed in, and the session, which is noted once a minute.
    superuser.get("/admin/")
    with CaptureQueriesContext(connection) as asked:
        assert superuser.get(PAGES[name]).status_code == 200
    assert len(asked) <= MOST_QUERIES
    plans = [(query["sql"], _plan(query["sql"])) for query in asked if _is_about_history(query["sql"])]
    assert plans
    for sql, plan in plans:
        scans = list(_scans(plan))
        assert ("Seq Scan", "messages") not in {(kind, table) for kind, table, _ in scans}, sql
        for kind, table, rows in scans:
            assert rows <= MAY_READ.get(name, MOST_ROWS_READ), f"{kind} reads {rows} rows of {table}: {sql}"


@pytest.mark.parametrize("where", ["newest", "oldest"])
def test_older_pages_of_an_endless_conversation_cost_no_more(operator: Client, where: str) -> None:
    oldest = Message.objects.in_conversation(LONG_ID).oldest_first()[60]
    query = f"?message={oldest.pk}" if where == "oldest" else ""
    with CaptureQueriesContext(connection) as asked:
        operator.get(f"{LIST}{LONG_ID}/change/{query}")
    pages = [query["sql"] for query in asked if '"messages"."content"' in query["sql"]]
    assert len(pages) == 1
    assert sum(rows for _, _, rows in _scans(_plan(pages[0]))) < 200


def test_the_search_uses_the_index_on_words() -> None:
    found = Message.objects.with_words("word4242").newest_first()[:500]
    assert "search_words" in str(found.query)
    ((kind, _, rows),) = _scans(_plan(_sql(found)))
    assert (kind, rows) == ("Bitmap Heap Scan", 1)


def test_exporting_reads_what_it_exports(operator: Client) -> None:
    chosen = Conversation.objects.newest_activity_first()[:2]
    selection = {"action": "export_as_csv", "_selected_action": [str(one.pk) for one in chosen], "confirmed": "yes"}
    with CaptureQueriesContext(connection) as asked:
        operator.post(LIST, selection).getvalue()
    for query in asked:
        if _is_about_history(query["sql"]) and "count" not in query["sql"].lower():
            assert all(rows < 500 for _, _, rows in _scans(_plan(query["sql"]))), query["sql"]
    assert StaffAccess.objects.count() == 2


def _is_about_history(sql: str) -> bool:
    return (
        sql.lstrip().startswith(("SELECT", "WITH"))
        and any(table in sql for table in ("messages", "conversations", "chat_users"))
        and "django_session" not in sql
        and "auth_" not in sql
        and "staff_access" not in sql
    )


def _sql(queryset: Any) -> str:
    with CaptureQueriesContext(connection) as asked:
        list(queryset)
    return asked[0]["sql"]


def _plan(sql: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
        return cursor.fetchone()[0][0]["Plan"]


def _scans(plan: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Yield each scan of a table in a plan: its kind, the table, and the rows that it read in all its loops."""
    if "Relation Name" in plan:
        read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        yield plan["Node Type"], plan["Relation Name"], round(read * plan["Actual Loops"])
    for part in plan.get("Plans", []):
        yield from _scans(part)
