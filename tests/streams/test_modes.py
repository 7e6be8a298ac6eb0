"""Modes that a client asks of one reply: thinking, and a search of the web."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream

KEY = {"Idempotency-Key": "a-key-for-modes"}


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(SYSTEM_PROMPT="Be brief.", THINKING_PROMPT="Think first.") as server:
        yield server


def regenerate(client: Client, conversation: str, **modes: bool) -> Stream:
    return client.open("POST", f"/api/conversations/{conversation}/regenerate", modes)


def edit(client: Client, conversation: str, **modes: bool) -> Stream:
    asked = [message for message in client.messages(conversation) if message["role"] == "user"][-1]
    return client.open("PUT", f"/api/conversations/{conversation}/messages/{asked['id']}", {"content": "edited", **modes})


def send(client: Client, conversation: str, **modes: bool) -> Stream:
    return client.send(conversation, "again", **modes)


@pytest.mark.parametrize("verb", [send, edit, regenerate])
@pytest.mark.parametrize(
    ("modes", "prompt", "searches"),
    [
        ({}, "Be brief.", False),
        ({"thinking_mode": False, "force_web_search": False}, "Be brief.", False),
        ({"thinking_mode": None, "force_web_search": None}, "Be brief.", False),
        ({"thinking_mode": True}, "Think first.", False),
        ({"force_web_search": True}, "Be brief.", True),
    ],
    ids=["none", "off", "null", "thinking", "search"],
)
def test_modes_go_upstream(
    client: Client,
    conversation: str,
    upstream: ScriptedUpstream,
    verb: Callable[..., Stream],
    modes: dict[str, bool],
    prompt: str,
    searches: bool,
) -> None:
    client.ask(conversation, "first")
    verb(client, conversation, **modes).finish()
    body = upstream.generations()[-1].body
    assert body["messages"][0]["content"].startswith(f"{prompt}\n\n")
    assert body.get("force_web_search", False) is searches
    assert ("force_web_search" in body) is searches


def test_without_a_thinking_prompt_nothing_changes(
    new_server: StartServer, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    with new_server(SYSTEM_PROMPT="Be brief.") as unprompted:
        visitor = client.at(unprompted.port)
        visitor.send(conversation, "think", thinking_mode=True).finish()
        visitor.close()
    assert upstream.generations()[-1].messages[0]["content"] == "Be brief.\n\nthink"


def test_openai_knows_no_search(new_server: StartServer, client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    with new_server(INFERENCE_PROTOCOL="openai", THINKING_PROMPT="Think first.") as other:
        visitor = client.at(other.port)
        visitor.send(conversation, "search", thinking_mode=True, force_web_search=True).finish()
        visitor.close()
    body = upstream.generations()[-1].body
    assert "force_web_search" not in body
    assert body["messages"][0] == {"role": "system", "content": "Think first."}


@pytest.mark.parametrize("mode", ["thinking_mode", "force_web_search"])
def test_a_retry_with_another_mode_is_refused(client: Client, conversation: str, mode: str) -> None:
    first = client.send(conversation, "one thing", headers=KEY)
    first.finish()
    path = f"/api/conversations/{conversation}/messages"
    refused = client.request("POST", path, {"content": "one thing", mode: True}, KEY)
    assert (refused.status, refused.json["code"]) == (422, "idempotency_mismatch")
    same = client.send(conversation, "one thing", headers=KEY, **{mode: False})
    same.finish()
    assert same.message_id == first.message_id
