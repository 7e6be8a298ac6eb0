"""The predecessor's database is taken over in place: nothing is lost, everything works, and the way back stays open."""

import json
import uuid
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from tests.adopting import predecessor
from tests.adopting.databases import predecessors_database
from tests.adopting.predecessor import ALIEN, EMPTY, EQUAL_TIMES, NULLS, OLD, ORDINARY, OTHER_USER, STALE, USER
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import manage, migrated_database
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def adopted() -> Iterator[tuple[str, dict[str, list[tuple]]]]:
    """The URL of a database that was taken over, and what was in it before."""
    with predecessors_database() as url:
        with psycopg.connect(url) as old:
            before = predecessor.snapshot(old)
        manage(url, "migrate", "--fake-initial", "--verbosity=0")
        yield url, before


@pytest.fixture(scope="module")
def database_url(adopted: tuple[str, dict[str, list[tuple]]]) -> str:
    return adopted[0]


@pytest.fixture(scope="module")
def service(database_url: str, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> Iterator[Server]:
    with Server(database_url=database_url, auth_url=auth_of_session.url, upstream_url=upstream_of_session.url) as server:
        yield server


@pytest.fixture
def mira(service: Server) -> Iterator[Client]:
    client = Client(service.port, make_token(USER))
    yield client
    client.close()


def test_nothing_that_was_there_has_changed(adopted: tuple[str, dict[str, list[tuple]]]) -> None:
    url, before = adopted
    with psycopg.connect(url) as connection:
        assert predecessor.snapshot(connection) == before


def test_the_first_migration_is_what_was_there(database_url: str) -> None:
    """A database made by migrations has the same columns, indexes and constraints as the one that was taken over."""
    with migrated_database() as url:
        assert definitions(url) == definitions(database_url)


def definitions(url: str) -> list[tuple]:
    """Read what the two tables are, apart from the foreign key to `users`, which only the predecessor has."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name::text, column_name::text, data_type::text, character_maximum_length, is_nullable::text, "
            "column_default::text FROM information_schema.columns "
            "WHERE table_name IN ('conversations', 'messages') ORDER BY 1, 2"
        ).fetchall()
        indexes = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename IN ('conversations', 'messages') AND indexname <> ALL(%s) "
            "ORDER BY 1",
            # Migration 0049 leaves them where there are messages, because nodes of the version before may search with them.
            [["idx_messages_search", "idx_conversations_title_words"]],
        ).fetchall()
        # Django writes IN as it likes; what counts is the name and that it is valid.
        constraints = connection.execute(
            "SELECT regexp_replace(conname, '_[0-9a-f]{8}_', '_'), contype::text, confdeltype::text, convalidated "
            "FROM pg_constraint WHERE conrelid IN ('conversations'::regclass, 'messages'::regclass) "
            "AND conname <> 'conversations_user_id_fkey' AND contype <> 'n' ORDER BY 1"
        ).fetchall()
    return [*columns, *indexes, *constraints]


def test_the_api_shows_every_old_conversation_to_its_owner(mira: Client) -> None:
    items = mira.get("/api/conversations")["items"]
    assert {item["id"] for item in items} >= {str(row) for row in (ORDINARY, NULLS, EQUAL_TIMES, EMPTY)}
    assert mira.request("GET", f"/api/conversations/{ALIEN}").status == 404
    read = mira.conversation(str(ORDINARY))
    assert [(message["role"], message["content"]) for message in read["messages"]] == [
        ("system", "Be brief."),
        ("user", "How do I bake?"),
        ("assistant", "With heat."),
    ]
    assert {message["status"] for message in read["messages"]} == {"complete"}
    assert len(mira.messages(str(NULLS))) == 2


@pytest.mark.parametrize("conversation", [ORDINARY, NULLS, EQUAL_TIMES, EMPTY], ids=["ordinary", "nulls", "equal", "empty"])
def test_old_conversations_go_on(mira: Client, conversation: object) -> None:
    stream = mira.ask(str(conversation), "and now")
    # A question that the predecessor left without an answer goes up joined with the new one.
    assert stream.text.endswith("and now")
    again = mira.regenerate(str(conversation))
    again.finish()
    active = [message for message in mira.messages(str(conversation)) if message["is_active"]]
    assert [message["content"].endswith("and now") for message in active].count(True) == 2
    assert mira.request("PATCH", f"/api/conversations/{conversation}", {"title": "named"}).status == 200


def test_new_conversations_live_beside_the_old(mira: Client) -> None:
    conversation = mira.create_conversation(title="new")
    assert mira.ask(conversation, "hello").text == "hello"
    assert mira.request("DELETE", f"/api/conversations/{conversation}").status == 204


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/conversations", {}),
        ("/conversations", {"title": "t", "model_tag": "default"}),
        ("/api/v1/chat/stream", {"session_id": "s-1", "message": "hello"}),
        ("/conversation", {}),
    ],
)
def test_a_user_without_an_account_there_is_told_so(service: Server, path: str, body: object) -> None:
    """The foreign key to `users` refuses the conversation."""
    unknown = Client(service.port, make_token())
    answer = unknown.request("POST", path, body)
    assert (answer.status, answer.json["code"]) == (403, "unknown_user"), answer


def test_the_history_of_an_account_that_is_gone_is_left_out(database_url: str, tmp_path) -> None:
    export = str(tmp_path / "all.jsonl")
    gone = uuid.uuid4()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (id, email, provider, provider_id) VALUES (%s, 'gone@example.com', 'github', '2')", (gone,)
        )
        connection.execute("INSERT INTO conversations (user_id, title) VALUES (%s, 'gone')", (gone,))
        manage(database_url, "export_history", export, f"--user={gone}")
        connection.execute("DELETE FROM users WHERE id = %s", (gone,))
    summary = json.loads(manage(database_url, "import_history", export, "--json"))
    assert summary["conversations"] == {"inserted": 0, "present": 0, "left_out": 1}


def test_the_predecessors_own_statements_still_run(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        predecessor.use(connection)


def test_old_history_is_pruned_and_put_back(database_url: str, tmp_path) -> None:
    """Also where `updated_at` is years behind: a conversation that is in use stays."""
    archive = str(tmp_path / "pruned.jsonl.gz")
    with psycopg.connect(database_url, autocommit=True) as connection:
        before = predecessor.snapshot(connection)
        manage(database_url, "prune_history", "--older-than=2021-01-01", "--yes", f"--archive={archive}")
        left = {row[0] for row in connection.execute("SELECT id FROM conversations").fetchall()}
        assert OLD not in left
        assert STALE in left
        manage(database_url, "prune_history", f"--user={USER}", "--include-favorites", "--yes", f"--archive={archive}")
        manage(database_url, "import_history", archive)
        assert predecessor.snapshot(connection) == before


def test_what_the_predecessor_saves_counts_as_activity(mira: Client, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for conversation in (ORDINARY, EQUAL_TIMES, OLD, ORDINARY):
            predecessor.say(connection, conversation)
    listed = [item["id"] for item in mira.get("/api/conversations")["items"]]
    wanted = [str(each) for each in (ORDINARY, OLD, EQUAL_TIMES)]
    assert [each for each in listed if each in wanted] == wanted


@pytest.mark.parametrize(
    ("offset", "counts"), [("-50 minutes", True), ("50 minutes", True), ("-2 hours", False), ("3 years", False)]
)
def test_its_clock_may_differ_from_the_databases(database_url: str, offset: str, counts: bool) -> None:
    """Times that can't be the present are left alone: an import brings them. No conversation gets a time to come."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE conversations SET updated_at = '2020-01-01Z' WHERE id = %s", (OLD,))
        (moment,) = connection.execute("SELECT now() + %s::interval", (offset,)).fetchone()
        connection.execute(predecessor.INSERT_MESSAGE, (uuid4(), OLD, "user", "live", None, "default", None, moment))
        (is_noted, is_past) = connection.execute(
            "SELECT updated_at > '2020-01-02Z', updated_at <= now() FROM conversations WHERE id = %s", (OLD,)
        ).fetchone()
        connection.execute("DELETE FROM messages WHERE conversation_id = %s AND content = 'live'", (OLD,))
        connection.execute("UPDATE conversations SET updated_at = '2020-01-01Z' WHERE id = %s", (OLD,))
    assert (is_noted, is_past) == (counts, True)


def test_what_it_saved_before_is_corrected_once(mira: Client, database_url: str) -> None:
    manage(database_url, "correct_activity")
    updated_at = next(item for item in mira.get("/api/conversations")["items"] if item["id"] == str(STALE))["updated_at"]
    assert updated_at.startswith("2026-01-05T00:00:00")


def test_admins_see_accounts_before_they_come_by(service: Server) -> None:
    admin = Client(service.port, make_token(admin=True))
    users = {user["id"]: user for user in admin.get("/api/admin/users")["items"]}
    ada = users[str(OTHER_USER)]
    assert (ada["email"], ada["name"], ada["provider"]) == ("ada@example.com", "", "github")
    assert (ada["conversation_count"], ada["message_count"], ada["last_login_at"]) == (1, 1, None)
    assert ada["created_at"]


def test_an_account_that_the_auth_service_deletes_takes_its_history_along(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM users WHERE id = %s", (OTHER_USER,))
        row = connection.execute("SELECT count(*) FROM conversations WHERE user_id = %s", (OTHER_USER,)).fetchone()
        assert row == (0,)
        left = connection.execute("SELECT count(*) FROM messages WHERE conversation_id = %s", (ALIEN,)).fetchone()
        assert left == (0,)
        connection.rollback()


def test_the_migrations_can_be_taken_back(adopted: tuple[str, dict[str, list[tuple]]]) -> None:
    """Last of all: what the predecessor knows of is as if nothing had been, and its statements run."""
    url, _ = adopted
    with psycopg.connect(url) as connection:
        before = predecessor.snapshot(connection)
    manage(url, "migrate", "conversations", "0001", "--verbosity=0")
    with psycopg.connect(url) as connection:
        assert predecessor.snapshot(connection) == before
        predecessor.use(connection)
