"""The predecessor and this service write to the same conversations."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from conversations.placeholders import NO_TEXT
from devstack.folder import PROJECT
from tests.adopting import predecessor
from tests.adopting.databases import predecessors_database
from tests.adopting.predecessor import USER
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import manage
from tests.support.server import Server
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.slow

Connection = psycopg.Connection


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with predecessors_database() as url:
        manage(url, "migrate", "--fake-initial", "--verbosity=0")
        yield url


@pytest.fixture(scope="module")
def nodes(database_url: str, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> Iterator[list[Server]]:
    urls = {"database_url": database_url, "auth_url": auth_of_session.url, "upstream_url": upstream_of_session.url}
    with Server(**urls) as first, Server(**urls) as second:
        yield [first, second]


@pytest.fixture
def mira(nodes: list[Server], upstream: ScriptedUpstream) -> Iterator[Client]:
    client = Client(nodes[0].port, make_token(USER))
    yield client
    client.close()


@pytest.fixture
def old(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def conversation(mira: Client) -> str:
    return mira.create_conversation(title="shared")


def fail(client: Client, upstream: ScriptedUpstream, conversation: str, question: str) -> None:
    upstream.script(respond("500 Internal Server Error"), when=question)
    assert client.send(conversation, question).status == 502


def test_a_failed_reply_does_not_end_the_conversation_there(
    mira: Client, old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    fail(mira, upstream, conversation, "will fail")
    predecessor.say(old, conversation)
    history = predecessor.history(old, conversation)
    assert [role for role, _ in history] == ["user", "assistant", "user"]
    assert all(text.strip() for _, text in history)
    # No reader of ours shows this text, and the question is asked again, as after any failure.
    assert [message["content"] for message in mira.messages(conversation)] == ["will fail", "", "live"]
    assert NO_TEXT not in mira.request("GET", f"/api/conversations/{conversation}").content.decode()
    mira.ask(conversation, "again")
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "will fail\n\nlive\n\nagain"}]


def test_outputs_of_tools_do_not_end_the_conversation_there(
    mira: Client, old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    called = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    outputs = [{"type": "function_call_output", "call_id": "c1", "output": output} for output in ("Sun", "")]
    items = [{"role": "user", "content": "How is the weather?"}, called, *outputs]
    assert mira.request("POST", f"/v1/conversations/{conversation}/items", {"items": items}).status == 200
    predecessor.say(old, conversation)
    history = predecessor.history(old, conversation)
    assert [role for role, _ in history] == ["user", "assistant", "user", "user", "user"]
    assert all(text.strip() for _, text in history)
    assert [message["role"] for message in mira.messages(conversation)] == ["user", "assistant", "tool", "tool", "user"]
    # This inference service takes no tools, so the model sees neither the call nor its outputs.
    mira.ask(conversation, "again")
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "How is the weather?\n\nlive\n\nagain"}]


def test_a_regeneration_there_meets_no_empty_reply_either(
    mira: Client, old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    fail(mira, upstream, conversation, "will fail")
    mira.ask(conversation, "and now")
    predecessor.delete_last_answer(old, conversation)
    history = predecessor.history(old, conversation)
    assert [role for role, _ in history] == ["user", "assistant", "user"]
    assert all(text.strip() for _, text in history)


def test_a_running_reply_without_text_does_not_either(
    mira: Client, nodes: list[Server], old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("Here ", "it is"), done())
    sent = mira.send(conversation, "wait")
    upstream.wait_call("wait")
    elsewhere = mira.at(nodes[1].port)
    reply = next(message for message in mira.messages(conversation) if message["role"] == "assistant")
    early = elsewhere.follow(conversation, reply["id"])
    predecessor.say(old, conversation)
    assert all(text.strip() for _, text in predecessor.history(old, conversation))
    late = elsewhere.follow(conversation, reply["id"])
    assert mira.message(conversation, reply["id"])["content"] == ""
    gate.open()
    for stream in (sent, early, late):
        stream.finish()
    assert [stream.text for stream in (sent, early, late)] == ["Here it is"] * 3
    assert mira.message(conversation, reply["id"])["content"] == "Here it is"
    elsewhere.close()


def test_a_keyed_retry_still_finds_a_reply_without_text(
    mira: Client, old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    upstream.script(respond("500 Internal Server Error"), when="once more")
    key = {"Idempotency-Key": "k-1"}
    assert mira.send(conversation, "once more", headers=key).status == 502
    predecessor.say(old, conversation)
    upstream.script(tokens("now"), done(), when="once more")
    again = mira.send(conversation, "once more", headers=key)
    again.finish()
    assert again.text == "now"


def test_other_conversations_keep_their_rows_as_they_are(
    mira: Client, old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    fail(mira, upstream, conversation, "will fail")
    mira.ask(conversation, "ours")
    assert ("assistant", "") in predecessor.history(old, conversation)


def active(client: Client, conversation: str) -> list[str]:
    return [message["content"] for message in client.messages(conversation) if message["is_active"]]


def test_its_regenerated_answer_replaces_ours(
    mira: Client, old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    upstream.script(tokens("first"), done(), when="q")
    mira.ask(conversation, "q")
    upstream.script(tokens("second"), done(), when="q")
    mira.regenerate(conversation).finish()
    predecessor.delete_last_answer(old, conversation)
    # Its generation may fail. Until it ends, the older answer counts.
    assert active(mira, conversation) == ["q", "first"]
    predecessor.answer(old, conversation, "third")
    assert active(mira, conversation) == ["q", "third"]
    mira.ask(conversation, "next")
    assert [message["content"] for message in upstream.generations()[-1].messages] == ["q", "third", "next"]


def test_its_regenerated_answer_replaces_an_older_one_that_was_active(
    mira: Client, old: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    """Here the newest answer, which it deletes, is not the active one."""
    upstream.script(tokens("first"), done(), when="q")
    mira.ask(conversation, "q")
    upstream.script(respond("500 Internal Server Error"), when="q")
    assert mira.regenerate(conversation).status == 502
    predecessor.delete_last_answer(old, conversation)
    predecessor.answer(old, conversation, "third")
    assert active(mira, conversation) == ["q", "third"]
    upstream.script(tokens("fourth"), done(), when="q")
    mira.regenerate(conversation).finish()
    assert active(mira, conversation) == ["q", "fourth"]


def test_its_own_turns_stay_as_it_wrote_them(mira: Client, old: Connection, conversation: str) -> None:
    for number in range(2):
        predecessor.say(old, conversation)
        predecessor.answer(old, conversation, f"answer {number}")
    assert active(mira, conversation) == ["live", "answer 0", "live", "answer 1"]
    predecessor.delete_last_answer(old, conversation)
    predecessor.answer(old, conversation, "again")
    assert active(mira, conversation) == ["live", "answer 0", "live", "again"]


@pytest.mark.parametrize("time", ["infinity", None], ids=["infinite", "none"])
def test_what_is_said_next_is_shown_after_messages_without_a_time(
    mira: Client, old: Connection, conversation: str, time: str | None
) -> None:
    predecessor.say(old, conversation)
    for role, text in (("user", "once"), ("assistant", "upon")):
        values = (uuid4(), conversation, role, text, None, "default", None, time)
        old.execute(predecessor.INSERT_MESSAGE, values)
    mira.ask(conversation, "a time")
    shown = [message["content"] for message in mira.messages(conversation)]
    assert (shown[0], set(shown[1:3]), shown[3]) == ("live", {"once", "upon"}, "a time")
    assert not any(message["created_at"].startswith("1970") for message in mira.messages(conversation))


def test_the_way_back_deletes_replies_without_text(old_database: str, auth: ScriptedAuth, upstream: ScriptedUpstream) -> None:
    manage(old_database, "migrate", "--fake-initial", "--verbosity=0")
    with (
        Server(database_url=old_database, auth_url=auth.url, upstream_url=upstream.url) as node,
        psycopg.connect(old_database, autocommit=True) as old,
    ):
        client = Client(node.port, make_token(USER))
        shared, own = client.create_conversation(), client.create_conversation()
        for conversation in (shared, own):
            fail(client, upstream, conversation, "will fail")
        predecessor.say(old, shared)
        client.close()
    said = manage(old_database, "migrate", "conversations", "0001")
    assert "Deleted our replies without text, which would block the predecessor: 2" in said
    with psycopg.connect(old_database) as old:
        assert predecessor.history(old, shared) == [("user", "will fail"), ("user", "live")]
        # What the predecessor wrote itself stays.
        assert ("assistant", "") in predecessor.history(old, predecessor.NULLS)


@pytest.fixture
def old_with_views(database_url: str) -> Iterator[Connection]:
    """The predecessor with a role of its own, for which deploy/postgres/predecessor.sql was run."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE predecessor LOGIN IN ROLE {}").format(sql.Identifier(owner.info.user)))
        try:
            owner.execute((PROJECT / "deploy" / "postgres" / "predecessor.sql").read_text())
            with psycopg.connect(make_conninfo(database_url, user="predecessor"), autocommit=True) as connection:
                yield connection
        finally:
            owner.execute("DROP SCHEMA predecessor CASCADE")
            owner.execute("DROP ROLE predecessor")


def test_with_views_it_shows_the_active_branch_only(
    mira: Client, old_with_views: Connection, upstream: ScriptedUpstream, conversation: str
) -> None:
    old = old_with_views
    mira.ask(conversation, "one")
    mira.ask(conversation, "two")
    first = mira.messages(conversation)[0]["id"]
    mira.open("PUT", f"/api/conversations/{conversation}/messages/{first}", {"content": "another one"}).finish()
    mira.ask(conversation, "and two")
    assert [text for _, text in predecessor.history(old, conversation)] == active(mira, conversation)
    mira.request("POST", f"/api/conversations/{conversation}/messages/{first}/activate")
    shown = active(mira, conversation)
    assert shown[0] == "one"
    assert [text for _, text in predecessor.history(old, conversation)] == shown
    predecessor.delete_last_answer(old, conversation)
    predecessor.answer(old, conversation, "regenerated there")
    predecessor.say(old, conversation)
    assert active(mira, conversation) == [*shown[:-1], "regenerated there", "live"]
    assert [text for _, text in predecessor.history(old, conversation)] == active(mira, conversation)


def test_with_views_it_lives_as_before(mira: Client, old_with_views: Connection, upstream: ScriptedUpstream) -> None:
    mira.create_conversation(temporary=True)
    listed = {row[0] for row in old_with_views.execute("SELECT id::text FROM conversations WHERE user_id = %s", [USER])}
    assert listed == {item["id"] for item in mira.get("/api/conversations?limit=200")["items"]}
    conversation = mira.create_conversation()
    fail(mira, upstream, conversation, "will fail")
    predecessor.say(old_with_views, conversation)
    assert all(text.strip() for _, text in predecessor.history(old_with_views, conversation))
    predecessor.use(old_with_views)
