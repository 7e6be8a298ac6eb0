"""A user whose requests wait for a lock leaves connections to the others."""

from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import wait_until

ATTEMPTS = 30
BLOCKED_SQL = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def test_one_user_s_locked_conversation_takes_a_part_of_the_pool(
    client: Client, conversation: str, service: Server, database_url: str
) -> None:
    own_other = client.create_conversation()
    other = Client(service.port, make_token())
    with psycopg.connect(database_url, autocommit=False) as operator, ThreadPoolExecutor(ATTEMPTS) as threads:
        operator.execute("SELECT FROM conversations WHERE id = %s FOR UPDATE", [conversation])
        path = f"/api/conversations/{conversation}"
        attempts = [threads.submit(client.request, "PATCH", path, {"title": f"title {number}"}) for number in range(ATTEMPTS)]
        with psycopg.connect(database_url, autocommit=True) as observer:
            wait_until(lambda: observer.execute(BLOCKED_SQL).fetchone() == (3,), "the user's share waits for the lock")
            for number in range(5):
                assert other.ask(other.create_conversation(), f"hello {number}").text == f"hello {number}"
                assert other.get("/api/ready")["ready"]
                assert observer.execute(BLOCKED_SQL).fetchone() <= (3,)  # type: ignore[operator]
        operator.rollback()
        # Those that had waited too long were refused.
        assert {attempt.result().status for attempt in attempts} <= {200, 503}
    assert client.request("PATCH", path, {"title": "at last"}).status == 200
    assert client.conversation(own_other)["messages"] == []
    other.close()
