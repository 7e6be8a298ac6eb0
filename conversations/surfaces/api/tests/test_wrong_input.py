"""Wrong requests to all endpoints of the primary surface: each is a 4xx with a code, and changes nothing."""

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from django.db import connection

from chatapi.tests.clients import UserClient
from conversations.keyset import SortKey, encode_cursor
from conversations.models import Conversation, Message
from conversations.tests.factories import NOON, make_conversation, make_turns

LIST = "/api/conversations"
CODES = {
    "not_authenticated",
    "invalid_token",
    "permission_denied",
    "not_found",
    "invalid",
    "payload_too_large",
    "generation_in_progress",
    "idempotency_mismatch",
    "throttled",
    "too_many_generations",
    "method_not_allowed",
}
NUL = '{"%s": "a\\u0000b"}'
LONE_SURROGATE = '{"%s": "a\\ud800b"}'


def everything() -> list[Any]:
    """Return every row that a user can change."""
    with connection.cursor() as cursor:
        rows: list[Any] = []
        for table in ("conversations", "messages"):
            cursor.execute(f"SELECT to_jsonb({table}) FROM {table} ORDER BY id")
            rows += cursor.fetchall()
    return rows


@pytest.fixture
def conversation(user: UserClient) -> Conversation:
    conversation = make_conversation(user.user_id, title="Untouched")
    make_turns(conversation, 1)
    return conversation


@pytest.fixture(autouse=True)
def _nothing_changes(conversation: Conversation) -> Iterator[None]:
    before = everything()
    yield
    assert everything() == before


def refused(response: Any, status: int = 400, code: str = "invalid") -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body["code"] in CODES
    assert isinstance(body["detail"], str) and body["detail"]
    assert set(body) <= {"code", "detail", "fields"}
    return body


# --- Bodies -------------------------------------------------------------------------------------------------------------


BROKEN: list[Any] = [
    "{",
    "nonsense",
    '{"title": }',
    "{'title': 'x'}",
    '{"title": NaN}',
    '{"a": 1,}',
    b"\xff\xfe",
    b'{"title": "\xed\xa0\x80"}',
    "[" * 100_000,
    '{"a":' * 2000,
    "title=x",
]


def writes(conversation: Conversation) -> list[tuple[str, str]]:
    path = f"{LIST}/{conversation.id}"
    return [("post", LIST), ("put", path), ("patch", path), ("post", f"{path}/messages"), ("post", f"{path}/regenerate")]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body)[:20])
def test_what_is_not_json(user: UserClient, conversation: Conversation, body: Any) -> None:
    for method, path in writes(conversation):
        refused(getattr(user, method)(path, body))


@pytest.mark.parametrize("body", ["[]", '["title"]', '"title"', "7", "true", "false", "0", '""', "null"])
def test_what_is_not_an_object(user: UserClient, conversation: Conversation, body: str) -> None:
    for method, path in writes(conversation):
        refused(getattr(user, method)(path, body))


# At creation these leave the title, or the model, to the service.
NOTHING: list[Any] = ["", None]
WRONG_TITLES: list[Any] = ["x" * 501, 7, 1.5, True, [], ["x"], {}, {"a": "b"}]


@pytest.mark.parametrize("title", WRONG_TITLES, ids=lambda value: repr(value)[:20])
def test_titles_at_creation(user: UserClient, conversation: Conversation, title: Any) -> None:
    assert list(refused(user.post(LIST, {"title": title}))["fields"]) == ["title"]


@pytest.mark.parametrize("title", [*NOTHING, "   ", "\n", *WRONG_TITLES], ids=lambda value: repr(value)[:20])
def test_titles(user: UserClient, conversation: Conversation, title: Any) -> None:
    path = f"{LIST}/{conversation.id}"
    for response in (user.put(path, {"title": title}), user.patch(path, {"title": title})):
        assert list(refused(response)["fields"]) == ["title"]


@pytest.mark.parametrize("tag", ["x" * 101, 7, ["x"]], ids=lambda value: repr(value)[:20])
def test_model_tags_at_creation(user: UserClient, conversation: Conversation, tag: Any) -> None:
    assert list(refused(user.post(LIST, {"model_tag": tag}))["fields"]) == ["model_tag"]


@pytest.mark.parametrize("tag", [*NOTHING, "x" * 101, 7, ["x"]], ids=lambda value: repr(value)[:20])
def test_model_tags(user: UserClient, conversation: Conversation, tag: Any) -> None:
    assert list(refused(user.patch(f"{LIST}/{conversation.id}", {"model_tag": tag}))["fields"]) == ["model_tag"]


@pytest.mark.parametrize("flag", ["true", 1, 0, None, "", []])
def test_favourite_flags(user: UserClient, conversation: Conversation, flag: Any) -> None:
    assert list(refused(user.patch(f"{LIST}/{conversation.id}", {"is_favorited": flag}))["fields"]) == ["is_favorited"]


def test_put_without_a_title(user: UserClient, conversation: Conversation) -> None:
    assert refused(user.put(f"{LIST}/{conversation.id}", {}))["fields"] == {"title": ["This field is required."]}


@pytest.mark.parametrize("field", ["title", "model_tag"])
def test_characters_that_cannot_be_stored(user: UserClient, conversation: Conversation, field: str) -> None:
    for body in (NUL % field, LONE_SURROGATE % field):
        refused(user.post(LIST, body))
        refused(user.patch(f"{LIST}/{conversation.id}", body))


WRONG_MESSAGES: list[tuple[str, Any]] = [
    ("content", ""),
    ("content", " \n\t "),
    ("content", "x" * 8001),
    ("content", "🎈" * 8001),
    ("content", 7),
    ("content", None),
    ("content", ["hello"]),
    ("content", {"text": "hello"}),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "1"),
    ("temperature", True),
    ("max_tokens", 0),
    ("max_tokens", 4097),
    ("max_tokens", 1.5),
    ("max_tokens", 10**30),
    ("max_tokens", "9"),
    ("top_k", -1),
    ("top_k", 201),
    ("top_k", False),
    ("thinking_mode", "true"),
    ("thinking_mode", 1),
    ("force_web_search", "false"),
    ("stream", "false"),
    ("stream", 0),
]


@pytest.mark.parametrize(("field", "value"), WRONG_MESSAGES, ids=lambda value: repr(value)[:20])
def test_messages(user: UserClient, conversation: Conversation, field: str, value: Any) -> None:
    path = f"{LIST}/{conversation.id}"
    # Written by hand: Django's own JSON encoder is not the question.
    body = orjson.dumps({"content": "hello", field: value}) if value != 10**30 else '{"content": "x", "max_tokens": 1e30}'
    assert list(refused(user.post(f"{path}/messages", body))["fields"]) == [field]
    if field not in ("content",):
        assert list(refused(user.post(f"{path}/regenerate", body))["fields"]) == [field]


def test_a_message_without_content(user: UserClient, conversation: Conversation) -> None:
    assert list(refused(user.post(f"{LIST}/{conversation.id}/messages", {}))["fields"]) == ["content"]


def test_messages_that_cannot_be_stored(user: UserClient, conversation: Conversation) -> None:
    for body in (NUL % "content", LONE_SURROGATE % "content"):
        refused(user.post(f"{LIST}/{conversation.id}/messages", body))


@pytest.mark.parametrize("key", ["two words", "x" * 201, "ümlaut", "tab\there", " "])
def test_idempotency_keys(user: UserClient, conversation: Conversation, key: str) -> None:
    response = user.post(f"{LIST}/{conversation.id}/messages", {"content": "hello"}, headers={"Idempotency-Key": key})
    if key.strip():
        assert list(refused(response)["fields"]) == ["Idempotency-Key"]
    else:
        refused(response)


def test_a_body_that_is_too_large(user: UserClient, conversation: Conversation) -> None:
    for method, path in writes(conversation):
        refused(getattr(user, method)(path, {"title": "x" * 300_000}), 413, "payload_too_large")


# --- Ids ----------------------------------------------------------------------------------------------------------------


def operations(conversation_id: str, message_id: str) -> list[tuple[str, str]]:
    path = f"{LIST}/{conversation_id}"
    return [
        ("get", path),
        ("put", path),
        ("patch", path),
        ("delete", path),
        ("post", f"{path}/stop"),
        ("post", f"{path}/regenerate"),
        ("get", f"{path}/messages"),
        ("post", f"{path}/messages"),
        ("get", f"{path}/messages/{message_id}"),
        ("get", f"{path}/messages/{message_id}/stream"),
    ]


def call(client: UserClient, method: str, path: str) -> Any:
    body = {"title": "Changed", "content": "hello"} if method in ("post", "put", "patch") else None
    return getattr(client, method)(path, body) if body else getattr(client, method)(path)


MALFORMED_IDS = [
    "1",
    "nonsense",
    "00000000-0000-0000-0000-00000000000",
    "00000000-0000-0000-0000-0000000000000",
    "{00000000-0000-0000-0000-000000000000}",
    "urn:uuid:00000000-0000-0000-0000-000000000000",
    "00000000000000000000000000000000",
    "%00",
    "%F0%9F%8E%88",
    "00000000-0000-0000-0000-00000000000%0A",
    "..",
    "' OR 1=1",
    "x" * 3000,
]


@pytest.mark.parametrize("malformed", MALFORMED_IDS, ids=lambda value: value[:30])
def test_malformed_ids(user: UserClient, conversation: Conversation, malformed: str) -> None:
    for method, path in operations(malformed, str(uuid.uuid4())):
        refused(call(user, method, path), 404, "not_found")
    for suffix in ("", "/stream"):
        refused(user.get(f"{LIST}/{conversation.id}/messages/{malformed}{suffix}"), 404, "not_found")


def test_unknown_ids(user: UserClient, conversation: Conversation) -> None:
    for method, path in operations(str(uuid.uuid4()), str(uuid.uuid4())):
        refused(call(user, method, path), 404, "not_found")


def test_another_user_s_ids(stranger: UserClient, conversation: Conversation) -> None:
    message_id = conversation.messages.newest_first().values_list("id", flat=True)[0]
    for method, path in operations(str(conversation.id), str(message_id)):
        refused(call(stranger, method, path), 404, "not_found")


def test_a_message_in_the_wrong_conversation(user: UserClient, stranger: UserClient, conversation: Conversation) -> None:
    foreign = Message.objects.get(conversation=conversation, role="assistant").id
    own = stranger.post(LIST).json()["id"]
    try:
        for suffix in ("", "/stream"):
            refused(stranger.get(f"{LIST}/{own}/messages/{foreign}{suffix}"), 404, "not_found")
    finally:
        Conversation.objects.filter(id=own).delete()


# --- Query parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "", "1.5", "1e2", "٣", "9" * 50, " 5"])
def test_limits(user: UserClient, conversation: Conversation, limit: str) -> None:
    for path in (LIST, f"{LIST}/{conversation.id}", f"{LIST}/{conversation.id}/messages"):
        assert list(refused(user.get(path, {"limit": limit}))["fields"]) == ["limit"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offset", "-1"),
        ("offset", "10001"),
        ("offset", "x"),
        ("tz", "Middle/Earth"),
        ("tz", "../../etc/passwd"),
        ("tz", "America"),
        ("tz", "x" * 5000),
        ("tz", "a\x00b"),
        ("tz", "🎈"),
        ("favorited", "yes"),
        ("favorited", ""),
        ("favorited", "True"),
        ("q", "x" * 201),
        ("q", "a\x00b"),
    ],
)
def test_list_parameters(user: UserClient, name: str, value: str) -> None:
    assert list(refused(user.get(LIST, {name: value}))["fields"]) == [name]


@pytest.mark.parametrize("versions", ["", "none", "ALL"])
def test_versions(user: UserClient, conversation: Conversation, versions: str) -> None:
    path = f"{LIST}/{conversation.id}/messages"
    assert list(refused(user.get(path, {"versions": versions}))["fields"]) == ["versions"]


@pytest.mark.parametrize(
    ("query", "header"),
    [("after=-1", None), ("after=x", None), ("after=99999999999", None), ("", "-1"), ("", "x"), ("", "9" * 10), ("", "1 ")],
)
def test_offsets_of_streams(user: UserClient, conversation: Conversation, query: str, header: str | None) -> None:
    reply = Message.objects.get(conversation=conversation, role="assistant").id
    headers = {"Last-Event-ID": header} if header else None
    response = user.get(f"{LIST}/{conversation.id}/messages/{reply}/stream?{query}", headers=headers)
    if header == "1 ":
        # Servers strip a header's outer spaces; the test client does not.
        refused(response)
    else:
        assert refused(response)["fields"]


def raw_cursor(parts: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


SOME_ID = "01931d5e-0000-7000-8000-000000000000"
BAD_CURSORS = [
    "",
    "nonsense",
    "====",
    "ümlaut",
    "x" * 1000,
    "\x00",
    raw_cursor([]),
    raw_cursor({}),
    raw_cursor({"c": 1, "d": 2, "e": 3}),
    raw_cursor("abc"),
    raw_cursor(7),
    raw_cursor(None),
    raw_cursor(["x", NOON, SOME_ID]),
    raw_cursor(["K", NOON, "nonsense"]),
    raw_cursor(["K", NOON, 7]),
    raw_cursor(["K", NOON, None]),
    raw_cursor(["K", 7, SOME_ID]),
    raw_cursor(["K", "yesterday", SOME_ID]),
    raw_cursor(["K", "2026-11-20T12:00:00", SOME_ID]),
    raw_cursor(["K", "2026-11-20", SOME_ID]),
    raw_cursor(["K", ["x"], SOME_ID]),
    raw_cursor(["K", NOON, SOME_ID, 1]),
    encode_cursor("K", SortKey(NOON, uuid.UUID(SOME_ID)))[:-3],
    encode_cursor("K", SortKey(NOON, uuid.UUID(SOME_ID))) + "A",
]


@pytest.mark.parametrize("cursor", BAD_CURSORS, ids=lambda value: repr(value)[:20])
def test_bad_cursors(user: UserClient, conversation: Conversation, cursor: str) -> None:
    for kind, path in (("c", LIST), ("m", f"{LIST}/{conversation.id}"), ("m", f"{LIST}/{conversation.id}/messages")):
        refused(user.get(path, {"cursor": _of_kind(cursor, kind)}))


def _of_kind(cursor: str, kind: str) -> str:
    """Make a cursor one of the list's own kind, so that only what else is wrong with it is."""
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        return cursor
    return raw_cursor([kind, *parts[1:]]) if isinstance(parts, list) and parts[:1] == ["K"] else cursor


def test_a_cursor_of_another_list(user: UserClient, conversation: Conversation) -> None:
    of_messages = user.get(f"{LIST}/{conversation.id}/messages", {"limit": 1}).json()["next"]
    assert of_messages
    refused(user.get(LIST, {"cursor": of_messages}))
    refused(user.get(f"{LIST}/{conversation.id}", {"cursor": raw_cursor(["c", NOON, SOME_ID])}))


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-20T12:00:00+00:00"]
)
def test_a_cursor_at_the_edge_of_time_is_only_a_place(user: UserClient, conversation: Conversation, time: str) -> None:
    assert user.get(LIST, {"cursor": raw_cursor(["c", time, SOME_ID])}).status_code in (200, 400)


def test_another_user_s_cursor_shows_one_s_own(user: UserClient, stranger: UserClient, conversation: Conversation) -> None:
    cursor = encode_cursor("c", SortKey(NOON, uuid.UUID(int=2**128 - 1)))
    assert [item["id"] for item in user.get(LIST, {"cursor": cursor}).json()["items"]] == [str(conversation.id)]
    assert stranger.get(LIST, {"cursor": cursor}).json()["items"] == []


# --- Tokens -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["unknown", "with space", "x" * 9000, "a.b.c", "nul\x00"])
def test_unknown_tokens(auth_service: Any, conversation: Conversation, token: str) -> None:
    client = UserClient(token)
    for method, path in operations(str(conversation.id), str(uuid.uuid4())):
        response = call(client, method, path)
        refused(response, 401, "invalid_token")
        assert response["WWW-Authenticate"] == "Bearer"


def test_no_token(anonymous: UserClient, conversation: Conversation) -> None:
    for method, path in [*operations(str(conversation.id), str(uuid.uuid4())), ("get", LIST), ("post", LIST)]:
        refused(call(anonymous, method, path), 401, "not_authenticated")
