"""POST /api/conversations/{id}/fork"""

from typing import Any

import psycopg

from tests.support.client import Client
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream


def fork(client: Client, conversation: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    return client.request("POST", f"/api/conversations/{conversation}/fork", body or {}, headers=headers)


def said(client: Client, conversation: str) -> list[tuple[str, str]]:
    return [(item["role"], item["content"]) for item in client.conversation(conversation)["messages"]]


def test_a_fork_has_the_active_branch_with_ids_of_its_own(client: Client, conversation: str) -> None:
    client.ask(conversation, "one")
    client.ask(conversation, "two")
    client.regenerate(conversation).finish()
    made = fork(client, conversation, {"title": "Another way"})
    assert (made.status, made.json["title"], made.json["forked_from"]) == (201, "Another way", conversation)
    copy = made.json["id"]
    assert made.headers["Location"] == f"/api/conversations/{copy}"
    assert said(client, copy) == said(client, conversation)
    originals = {item["id"] for item in client.messages(conversation)}
    copies = client.conversation(copy)["messages"]
    assert not originals & {item["id"] for item in copies}
    assert [item["parent_id"] for item in copies] == [None, copies[0]["id"], None, copies[2]["id"]]
    assert [item["follows_id"] for item in copies] == [None, None, copies[1]["id"], None]
    client.ask(copy, "three")
    assert len(said(client, copy)) == 6
    assert len(said(client, conversation)) == 4


def test_a_fork_ends_at_the_message_that_is_named_also_of_another_branch(client: Client, conversation: str) -> None:
    first = client.ask(conversation, "one").message_id
    client.ask(conversation, "two")
    client.regenerate(conversation).finish()
    (left,) = [item for item in client.messages(conversation) if item["role"] == "assistant" and not item["is_active"]]
    assert len(said(client, fork(client, conversation, {"message_id": first}).json["id"])) == 2
    assert len(said(client, fork(client, conversation, {"message_id": left["id"]}).json["id"])) == 4


def test_a_running_reply_is_not_copied(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), done())
    stream = client.send(conversation, "one")
    stream.read_until("half")
    assert said(client, fork(client, conversation).json["id"]) == [("user", "one")]
    gate.open()
    stream.finish()


def test_messages_of_the_predecessor_that_have_the_same_time_keep_their_order(
    client: Client, conversation: str, database_url: str
) -> None:
    insert = "INSERT INTO messages (conversation_id, role, content) VALUES (%s, %s, %s)"
    with psycopg.connect(database_url) as connection:
        for place in range(20):
            connection.execute(insert, [conversation, ("user", "assistant")[place % 2], str(place)])
    assert said(client, fork(client, conversation).json["id"]) == said(client, conversation)
    client.ask(conversation, "new")
    copy = fork(client, conversation).json["id"]
    assert said(client, copy) == said(client, conversation)
    # Ids made later sort later, as those of all new rows.
    ids = [item["id"] for item in client.conversation(copy)["messages"]]
    assert ids == sorted(ids)


def test_a_repeated_fork_is_one(client: Client, conversation: str) -> None:
    client.ask(conversation, "one")
    key = {"Idempotency-Key": "fork-1"}
    made = [fork(client, conversation, {"title": "copy"}, **key) for _ in range(2)]
    assert made[0].json["id"] == made[1].json["id"]
    assert fork(client, conversation, {"title": "other"}, **key).status == 422


def test_feedback_and_usage_stay_with_the_original(client: Client, conversation: str, database_url: str) -> None:
    reply = client.ask(conversation, "one").message_id
    client.request("PUT", f"/api/conversations/{conversation}/messages/{reply}/feedback", {"rating": 1})
    before = client.request("GET", "/api/usage").json
    copy = fork(client, conversation).json["id"]
    assert client.request("GET", "/api/usage").json == before
    with psycopg.connect(database_url) as database:
        rated = database.execute("SELECT count(feedback) FROM messages WHERE conversation_id = %s", [copy]).fetchone()
    assert rated == (0,)


def test_what_can_t_be_forked(client: Client, conversation: str) -> None:
    client.ask(conversation, "one")
    unknown = "00000000-0000-4000-8000-000000000000"
    assert fork(client, unknown).status == 404
    assert fork(client, conversation, {"message_id": unknown}).status == 404
    assert fork(client, conversation, {"message_id": "nonsense"}).status == 404
    assert fork(client, conversation, {"title": ""}).status == 400
    assert client.request("GET", "/api/conversations").json["items"][0]["id"] == conversation
