"""How long a message may be, and how many tokens a client may ask for, is the operator's choice."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, token
from tests.support.upstream import ScriptedUpstream

LONGEST = 200_000


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    limits = {"MAX_MESSAGE_CHARACTERS": str(LONGEST), "MAX_OUTPUT_TOKENS": "131072"}
    with new_server(INFERENCE_PROTOCOL="openai", **limits) as server:
        yield server


@pytest.mark.parametrize("character", ["a", '"', "é", "🎈"])
def test_a_message_of_any_characters_may_be_as_long_as_the_limit(
    client: Client, conversation: str, upstream: ScriptedUpstream, character: str
) -> None:
    upstream.script(token("Yes"), done())
    content = character * LONGEST
    # As most clients write JSON, an emoji is twelve characters.
    assert len(json.dumps(content)) >= LONGEST
    client.ask(conversation, content)
    assert upstream.generations()[-1].prompt == content
    assert client.conversation(conversation)["messages"][0]["content"] == content
    assert client.send(conversation, content + character).status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/conversations/{}/messages", {"message": {"content": "x"}}),
        ("/conversation/completion/{}", {"message": "x"}),
        ("/api/v1/chat/stream", {"session_id": "long", "message": "x"}),
    ],
)
def test_the_other_surfaces_have_the_same_limit(
    client: Client, conversation: str, upstream: ScriptedUpstream, path: str, body: dict[str, object]
) -> None:
    upstream.script(token("Yes"), done())
    for length, status in ((LONGEST, 200), (LONGEST + 1, 400)):
        long_body = json.loads(json.dumps(body).replace('"x"', json.dumps("🎈" * length)))
        assert client.request("POST", path.format(conversation), long_body).status == status


def test_as_many_tokens_may_be_asked_for_as_the_operator_allows(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(token("Yes"), done())
    client.send(conversation, "question", max_tokens=131_072).finish()
    assert upstream.wait_call("question").body["max_tokens"] == 131_072
    assert client.send(conversation, "question", max_tokens=131_073).status == 400
