"""GET /api/usage"""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.support.client import Client

pytestmark = pytest.mark.one_day


def test_usage_per_day(client: Client, other_client: Client, conversation: str, database: psycopg.Connection) -> None:
    client.ask(conversation, "one two three")
    other_client.ask(other_client.create_conversation(), "not counted")
    database.execute(
        "INSERT INTO usage_totals (user_id, bucket, messages, replies, tokens, inference_time_ms) VALUES"
        " (%(user)s, date_trunc('day', now(), 'UTC') - interval '2 days', 1, 0, 0, 0),"
        " (%(user)s, date_trunc('day', now(), 'UTC') - interval '1 day 15 minutes', 0, 1, 40, 700),"
        " (%(user)s, date_trunc('day', now(), 'UTC') - interval '2 days 15 minutes', 0, 1, 1, 1)",
        {"user": client.token[5:]},
    )
    report = client.get("/api/usage?days=3")
    today = datetime.now(UTC).date()
    assert [day["date"] for day in report["days"]] == [str(today - timedelta(days=back)) for back in (2, 1, 0)]
    before, yesterday, now = report["days"]
    assert (before["messages"], before["replies"], before["tokens"], before["inference_time_ms"]) == (1, 1, 40, 700)
    assert (yesterday["messages"], yesterday["replies"], yesterday["tokens"]) == (0, 0, 0)
    assert (now["messages"], now["replies"], now["tokens"]) == (1, 1, 3)
    assert report["total"]["tokens"] == 43
    assert len(client.get("/api/usage")["days"]) == 30


def test_deleting_does_not_reduce_usage(client: Client, conversation: str) -> None:
    client.ask(conversation, "one two three")
    client.regenerate(conversation).finish()
    before = client.get("/api/usage?days=2")["total"]
    assert (before["messages"], before["replies"], before["tokens"]) == (1, 2, 6)
    assert client.request("DELETE", f"/api/conversations/{conversation}").status == 204
    assert client.get("/api/usage?days=2")["total"] == before


def test_usage_from_day_to_day_in_a_time_zone(client: Client, database: psycopg.Connection) -> None:
    database.execute(
        "INSERT INTO usage_totals (user_id, bucket, messages) VALUES (%s, '2026-03-01 20:00Z', 1)", [client.token[5:]]
    )
    days = client.get("/api/usage?from=2026-03-01&to=2026-03-02&tz=Asia/Kolkata")["days"]
    assert [(day["date"], day["messages"]) for day in days] == [("2026-03-01", 0), ("2026-03-02", 1)]


@pytest.mark.parametrize(
    "query",
    [
        "days=0",
        "days=93",
        "days=x",
        "from=2026-01-01&to=2026-12-31",
        "from=2026-02-01&to=2026-01-01",
        "from=yesterday",
        "to=0001-01-01",
        "to=9999-12-31",
        "from=2026-01-01&days=3",
        "tz=Mars/Olympus",
    ],
)
def test_a_malformed_range_is_refused(client: Client, query: str) -> None:
    answer = client.request("GET", f"/api/usage?{query}")
    assert (answer.status, answer.json["code"]) == (400, "invalid")
