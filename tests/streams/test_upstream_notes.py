"""Staff can see what the inference service said of a reply: its word for the end, the status and the code of its error."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import event, respond, token, tokens
from tests.support.upstream import ScriptedUpstream

SECRET = "node gpu-7 refused what the user wrote"


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(INFERENCE_PROTOCOL="openai") as server:
        yield server


def notes(database_url: str, message_id: str) -> Any:
    columns = "upstream_finish, upstream_status, upstream_code, trace_id, error_code"
    with psycopg.connect(database_url) as connection:
        row = connection.execute(f"SELECT {columns} FROM messages WHERE id = %s", [message_id]).fetchone()
        whole = connection.execute("SELECT to_jsonb(m)::text FROM messages AS m WHERE id = %s", [message_id]).fetchone()
    assert whole and SECRET not in whole[0]
    return row


def finish(word: str) -> str:
    return f'{{"choices": [{{"delta": {{}}, "finish_reason": "{word}"}}]}}'


@pytest.mark.parametrize(
    ("word", "stored", "error_code"),
    [
        ("MAX_TOKENS", "MAX_TOKENS", None),
        ("end_turn", "end_turn", None),
        ("insufficient_system_resource", "insufficient_system_resource", "upstream_error"),
        (r"ab\u0000o\u202ert\ud800", "abort", "upstream_error"),
    ],
)
def test_the_word_for_the_end_is_stored(
    client: Client,
    conversation: str,
    upstream: ScriptedUpstream,
    database_url: str,
    word: str,
    stored: str,
    error_code: str | None,
) -> None:
    upstream.script(tokens("text"), event(finish(word)), event("[DONE]"))
    stream = client.send(conversation, "why", headers={"X-Trace-Id": "find.me"})
    stream.finish()
    trace_id = "find.me" if error_code else None
    assert notes(database_url, stream.message_id) == (stored, None, None, trace_id, error_code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('{"error": {"code": "insufficient_quota", "type": "x", "message": "%s"}}', "insufficient_quota"),
        ('{"type": "error", "error": {"type": "overloaded_error", "message": "%s"}}', "overloaded_error"),
        ('{"error": {"code": 1261, "message": "%s"}}', "1261"),
        ('{"error": {"code": "%s"}}', None),
        ("%s", None),
    ],
)
@pytest.mark.parametrize("in_stream", [False, True], ids=["status", "stream"])
def test_the_code_of_an_error_is_stored_and_not_its_text(
    client: Client,
    conversation: str,
    upstream: ScriptedUpstream,
    database_url: str,
    error: str,
    code: str | None,
    in_stream: bool,
) -> None:
    said = error % SECRET
    upstream.script(token("text"), event(said)) if in_stream else upstream.script(respond("529 Overloaded", said.encode()))
    stream = client.send(conversation, "why", headers={"X-Trace-Id": "find.me"})
    stream.body()
    *_, message = client.messages(conversation)
    status = None if in_stream else 529
    assert notes(database_url, message["id"])[1:4] == (status, code, "find.me")
