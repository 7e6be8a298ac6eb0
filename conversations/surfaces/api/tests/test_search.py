"""GET /api/search"""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode

import psycopg
import pytest

from tests.support.client import Client
from tests.support.steps import done, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


def search(client: Client, q: str, **params) -> list[dict]:
    return client.get(f"/api/search?{urlencode({'q': q, **params})}")["items"]


def search_all(client: Client, q: str, limit: int) -> list[list[dict]]:
    """Read all pages."""
    pages, cursor = [], None
    while True:
        params = {"q": q, "limit": limit, **({} if cursor is None else {"cursor": cursor})}
        page = client.get(f"/api/search?{urlencode(params)}")
        pages.append(page["items"])
        if (cursor := page["next"]) is None:
            return pages


def store(database: psycopg.Connection, client: Client, contents: list[str], conversations: int = 1, **columns: str) -> None:
    """Insert messages as if they had been sent, spread over new conversations."""
    ids = [client.create_conversation(title=f"number {number}") for number in range(conversations)]
    for number, content in enumerate(contents):
        names = "".join(f", {name}" for name in columns)
        database.execute(
            f"INSERT INTO messages (conversation_id, role, content{names}) VALUES (%s, 'user', %s{', %s' * len(columns)})",
            [ids[number % conversations], content, *columns.values()],
        )


def test_what_was_sent_and_what_was_answered_is_found(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("A samovar", " boils water."), done())
    conversation = client.create_conversation(title="Tea")
    client.ask(conversation, "What does the Samovar do?")
    hits = search(client, "samovar")
    assert {hit["role"] for hit in hits} == {"user", "assistant"}
    assert {hit["message_id"] for hit in hits} == {item["id"] for item in client.messages(conversation)}
    assert {(hit["conversation_id"], hit["conversation_title"]) for hit in hits} == {(conversation, "Tea")}
    assert search(client, "kettle") == []


@pytest.mark.parametrize(
    ("content", "q"),
    [
        ("Der Straßenbahnfahrer trank grünen Tee.", "grünen"),
        ("Der Straßenbahnfahrer trank grünen Tee.", "straßenbahnfahrer"),
        ("मुझे हिन्दी में चाय चाहिए", "हिन्दी"),
        ("我想喝一杯绿茶谢谢", "绿茶"),
        ("緑茶をください", "ください"),
        ("ฉันอยากดื่มชา", "ดื่ม"),
        ("it was 👍 indeed", "👍"),
        ("100%_sure\\done", "100%_sure"),
    ],
)
def test_languages(client: Client, database: psycopg.Connection, content: str, q: str) -> None:
    store(database, client, [content, "something else: 红茶 शहर Bier 👎 100x-sure"])
    hits = search(client, q)
    assert len(hits) == 1
    assert "<mark>" in hits[0]["snippet"]


def test_words_phrases_and_exclusions(client: Client, database: psycopg.Connection) -> None:
    store(database, client, ["green tea is hot", "tea that is green", "black tea"])

    def found(q: str) -> int:
        return len(search(client, q))

    assert [found(q) for q in ("tea", "green tea", '"green tea"', "tea -green", "black or hot", "TEA")] == [3, 2, 1, 1, 2, 3]
    # The last word may go on.
    assert [found(q) for q in ("te", "gre tea", "tea gre")] == [3, 0, 2]


@pytest.mark.parametrize(
    ("content", "q", "is_found"),
    [
        ("use v2.3.1-beta now", "2.3.1", True),
        ("use v2.3.1-beta now", "v2.3.1", True),
        ("use v2.3.1-beta now", '"2.3.1"', True),
        ("use v2.3.1-beta now", "beta 2.3", True),
        ("use v2.3.1-beta now", "use -2.3.1", False),
        ("use v2.3.1-beta now", "2.4", False),
        ("use v2 before 3.1 now", "2.3.1", False),
        ("see PR#123 now", "#123", True),
        ("a foo_bar b", "foo-bar", True),
        ("a foo-bar b", "foo_bar", True),
        ("I write C++ here", "C++", True),
        ("mail user@host.example now", "user@host", True),
        ("mail user@host.example now", "@host", True),
    ],
)
def test_numbers_and_names_with_punctuation(
    client: Client, database: psycopg.Connection, content: str, q: str, *, is_found: bool
) -> None:
    store(database, client, [content])
    assert bool(search(client, q)) is is_found


def test_the_number_of_a_version_is_marked_with_its_v(client: Client, database: psycopg.Connection) -> None:
    store(database, client, ["use v2.3.1-beta now"])
    [hit] = search(client, "2.3.1")
    assert hit["snippet"] == "use <mark>v2</mark>.<mark>3</mark>.<mark>1</mark>-beta now"


def test_a_snippet_is_escaped_and_its_matches_marked(client: Client, database: psycopg.Connection) -> None:
    store(database, client, ["<img src=x onerror=alert(1)> & \x02tea\x03 <mark>", "前面<b>绿茶</b>后面"])
    (words,) = search(client, "tea")
    assert "<mark>tea</mark>" in words["snippet"]
    (text,) = search(client, "绿茶")
    assert text["snippet"] == "前面&lt;b&gt;<mark>绿茶</mark>&lt;/b&gt;后面"
    for hit in (words, text):
        assert "<" not in hit["snippet"].replace("<mark>", "").replace("</mark>", "")


def test_a_snippet_keeps_what_looks_like_a_tag(client: Client, database: psycopg.Connection) -> None:
    store(database, client, ["green tea if a < b, with <milk> and \ue000 sugar"])
    [hit] = search(client, "tea")
    assert hit["snippet"] == "green <mark>tea</mark> if a &lt; b, with &lt;milk&gt; and \ue000 sugar"


def test_a_long_message_shows_where_it_matches(client: Client, database: psycopg.Connection) -> None:
    store(database, client, ["padding " * 1000 + "needle " + "padding " * 1000])
    (hit,) = search(client, "needle")
    assert "<mark>needle</mark>" in hit["snippet"]
    assert len(hit["snippet"]) < 500


def test_the_best_come_first(client: Client, database: psycopg.Connection) -> None:
    store(database, client, ["tea tea tea tea", "only once a tea in a long sentence about other things", "tea and tea"])
    counts = [hit["snippet"].count("<mark>") for hit in search(client, "tea")]
    assert counts == sorted(counts, reverse=True) == [4, 2, 1]


@pytest.mark.parametrize("q", ["tea", "茶叶"])
def test_pages_hold_each_match_once(client: Client, database: psycopg.Connection, q: str) -> None:
    store(database, client, [f"{q} number {number}" for number in range(250)], conversations=5)
    pages = search_all(client, q, limit=50)
    ids = [hit["message_id"] for page in pages for hit in page]
    assert len(ids) == len(set(ids)) == 250


def test_a_walk_goes_through_all_conversations(client: Client, database: psycopg.Connection) -> None:
    """Text without words is looked for conversation by conversation: in the last of many as well."""
    row = database.execute("SELECT %s::uuid", [client.token[5:]]).fetchone()
    database.execute(
        "INSERT INTO conversations (user_id, title, updated_at)"
        " SELECT %s, 'empty', now() - n * interval '1 minute' FROM generate_series(1, 700) AS n",
        [row[0]],
    )
    oldest = database.execute(
        "SELECT id FROM conversations WHERE user_id = %s ORDER BY updated_at LIMIT 1", [row[0]]
    ).fetchone()
    # A new message would make it the newest.
    database.execute(
        "INSERT INTO messages (conversation_id, role, content, created_at) VALUES (%s, 'user', %s, now() - interval '1 day')",
        [oldest[0], "%:%"],
    )
    pages = search_all(client, "%:%", limit=20)
    # The first request gives up where it has found nothing for a while, and says where to go on.
    assert [len(page) for page in pages] == [0, 1]


def test_titles_and_messages_are_in_one_box(client: Client, database: psycopg.Connection) -> None:
    titled = client.create_conversation(title="Samovars of Tula")
    store(database, client, ["a samovar"])
    title, message = search(client, "samovar")
    assert (title["in"], title["message_id"], title["role"], title["conversation_id"]) == ("title", None, None, titled)
    assert title["snippet"] == "<mark>Samovars</mark> of Tula"
    assert (message["in"], message["role"], message["snippet"]) == ("message", "user", "a <mark>samovar</mark>")
    assert [[hit["in"] for hit in page] for page in search_all(client, "samovar", limit=1)] == [["title"], ["message"]]


def test_only_one_s_own_messages_are_found(client: Client, other_client: Client, database: psycopg.Connection) -> None:
    store(database, client, ["a secret recipe", "秘密食谱"])
    assert len(search(client, "secret")) == len(search(client, "秘密")) == 1
    assert search(other_client, "secret") == search(other_client, "秘密") == []


def test_temporary_chats_and_answers_that_do_not_count_are_not_found(client: Client, database: psycopg.Connection) -> None:
    temporary = client.create_conversation(temporary=True)
    client.ask(temporary, "hidden treasure")
    store(database, client, ["hidden treasure"], is_active="false")
    assert search(client, "treasure") == []


@pytest.mark.slow
def test_a_frequent_word_is_found_without_the_index(client: Client, database: psycopg.Connection) -> None:
    """Where the statistics say that a word is everywhere, the caller's conversations are walked instead."""
    store(database, client, ["ubiquitous and mine"])
    noise = client.create_conversation()
    with database.transaction():
        # Without triggers: for each message that the predecessor saves, one reads the conversation.
        database.execute("SET LOCAL session_replication_role = replica")
        database.execute(
            "INSERT INTO messages (conversation_id, role, content)"
            " SELECT %s, 'user', 'ubiquitous' FROM generate_series(1, 25000)",
            [noise],
        )
    database.execute("ANALYZE messages")
    page = client.get("/api/search?q=ubiquitous&limit=50")
    assert page["next"].startswith("w")
    assert {hit["conversation_id"] for hit in page["items"]} <= {
        item["id"] for item in client.get("/api/conversations")["items"]
    }
    assert len(page["items"]) == 50
    assert client.request("DELETE", f"/api/conversations/{noise}").status == 204


def test_the_index_answers_for_rare_words(database: psycopg.Connection) -> None:
    with database.transaction():
        database.execute("SET LOCAL enable_seqscan = off")
        plan = database.execute(
            "EXPLAIN (FORMAT JSON) SELECT 1 FROM messages WHERE search_words(search_text(content)) @@ 'samovar'::tsquery"
            " AND status <> 'streaming'"
        ).fetchone()
    assert "idx_messages_words" in json.dumps(plan[0])


@pytest.mark.parametrize(
    "query",
    [
        "",
        "q=",
        "q=%20",
        f"q={'x' * 201}",
        "q=%00",
        "q=tea&limit=0",
        "q=tea&limit=51",
        "q=tea&cursor=",
        "q=tea&cursor=i0.x",
        "q=tea&cursor=" + quote("w0.WyJjIiwgbnVsbCwgIng=\\"),
    ],
)
def test_a_malformed_search_is_refused(client: Client, query: str) -> None:
    answer = client.request("GET", f"/api/search?{query}")
    assert (answer.status, answer.json["code"]) == (400, "invalid")


def test_one_user_s_searches_leave_the_connections_to_others(
    client: Client, other_client: Client, database: psycopg.Connection, database_url: str
) -> None:
    """Whatever a search waits for, ten of one user's hold no more than one connection."""
    # Other statements of the service may wait for the table, too.
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chat-api' AND datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE '%search_words%'"
    )
    with ThreadPoolExecutor(10) as threads:
        with psycopg.connect(database_url) as locked:
            locked.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            searches = [threads.submit(client.request, "GET", "/api/search?q=tea") for _ in range(10)]
            wait_until(lambda: database.execute(waiting).fetchone()[0], "a search waits for the table", 10)
            counts = set()
            for _ in range(20):
                # The worker takes requests in turn: the searches have begun.
                assert other_client.request("GET", "/api/assistants").status == 200
                counts.add(database.execute(waiting).fetchone()[0])
            locked.rollback()
        statuses = [one.result().status for one in searches]
    assert max(counts) <= 1
    assert 200 in statuses
    assert set(statuses) <= {200, 429}


@pytest.mark.parametrize(
    "q",
    ["'", "\\", "%", '"', "& | ! ( ) :*", "-tea", "<->", "a" * 200, "or", "�", "-" * 33, "- " * 99 + "x", "tea " + "-" * 33],
)
def test_any_text_may_be_looked_for(client: Client, database: psycopg.Connection, q: str) -> None:
    store(database, client, ["tea"])
    assert client.request("GET", f"/api/search?{urlencode({'q': q})}").status == 200
