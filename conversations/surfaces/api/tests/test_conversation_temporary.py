"""POST /api/conversations with `temporary`: where such a conversation is seen, and for how long"""

from datetime import timedelta

import psycopg

from tests.support.client import Client


def test_a_temporary_chat_is_in_no_list(client: Client, database: psycopg.Connection) -> None:
    conversation = client.create_conversation(temporary=True)
    client.ask(conversation, "between us")
    for path in ("/api/conversations", "/conversations", "/conversation"):
        found = client.get(path)
        assert (found["items"] if isinstance(found, dict) else found) == []
    assert len(client.conversation(conversation)["messages"]) == 2


def test_a_temporary_chat_expires_a_day_after_its_last_turn(client: Client, database: psycopg.Connection) -> None:
    conversation = client.create_conversation(temporary=True)
    database.execute("UPDATE conversations SET expires_at = now() + interval '1 minute' WHERE id = %s", [conversation])
    client.ask(conversation, "still here")
    row = database.execute("SELECT expires_at - now() FROM conversations WHERE id = %s", [conversation]).fetchone()
    assert timedelta(hours=23) < row[0] <= timedelta(hours=24)
    row = database.execute(
        "SELECT expires_at FROM conversations WHERE id = %s", [client.create_conversation(temporary=False)]
    ).fetchone()
    assert row == (None,)
