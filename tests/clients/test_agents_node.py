"""Agents in JavaScript, unchanged: OpenAI's Agents SDK, and Vercel's AI SDK with OpenAI as its provider."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.completion_cases import count_conversations
from tests.clients.conftest import StartScript
from tests.clients.openai_cases import SETTINGS
from tests.clients.tool_cases import calling, finish, piece, pieces
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, event, tokens
from tests.support.upstream import ScriptedUpstream

QUESTION = "How is the weather?"
TEA = {"name": "Assam", "minutes": 4}
TEA_TEXT = '{"name": "Assam", "minutes": 4}'
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def ask(start_script: StartScript, service: Server, client: Client) -> Ask:
    """Tell a script what to do, as the user `client`."""

    def tell(name: str, do: str, **command: Any) -> Any:
        where = {"address": f"http://127.0.0.1:{service.port}", "token": client.token}
        return start_script(f"{name}.mjs").ask(do=do, **where, **command)

    return tell


def roles(upstream: ScriptedUpstream) -> list[str]:
    return [message["role"] for message in upstream.generations()[-1].body["messages"]]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("responses", [True, False], ids=["responses", "completions"])
def test_an_agent_with_a_tool(responses: bool, stream: bool, ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo", "Rom"), when=QUESTION)
    upstream.script(tokens("Sunny", "."), done(), when="Sun in Rom")
    found = ask("agents", "tool", question=QUESTION, responses=responses, stream=stream)
    assert found == {"output": "Sunny.", "text": "Sunny." if stream else ""}
    assert roles(upstream) == ["system", "user", "assistant", "tool", "tool"]


def test_an_agent_that_hands_off(ask: Ask, upstream: ScriptedUpstream) -> None:
    transfer = pieces(piece(0, name="transfer_to_Cook", arguments="{}"))
    upstream.script(transfer, finish("tool_calls"), event("[DONE]"), when="Which tea?")
    upstream.script(tokens(TEA_TEXT), done(), when="assistant")
    assert ask("agents", "handoff", question="Which tea?") == {"output": TEA, "last": "Cook"}
    assert upstream.generations()[-1].body["response_format"]["type"] == "json_schema"


def test_a_session_is_a_conversation_here(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    upstream.script(tokens("Sunny."), done(), when="Sun in Oslo")
    upstream.script(tokens("You're welcome."), done(), when="Thanks!")
    found = ask("agents", "session", questions=[QUESTION, "Thanks!"])
    assert found["outputs"] == ["Sunny.", "You're welcome."]
    assert found["kinds"] == ["message", "function_call", "function_call_result", "message", "message", "message"]
    assert (found["popped"]["content"][0]["text"], found["left"]) == ("You're welcome.", 5)
    assert roles(upstream) == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_the_ai_sdk_with_openai_as_provider(
    api: str, ask: Ask, client: Client, database_url: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("Good ", "mörning"), done(usage={"prompt_tokens": 7, "completion_tokens": 5}))
    found = ask("ai_openai", "text", question="hi", system="Be brief.", api=api)
    assert (found["text"], found["usage"]["inputTokens"], found["usage"]["outputTokens"]) == ("Good mörning", 7, 5)
    streamed = ask("ai_openai", "stream", question="hi", system="Be brief.", api=api)
    assert ("".join(streamed), len(streamed)) == ("Good mörning", 2)
    # A response's prompt that is a message goes in front of the question.
    assert roles(upstream) == (["system", "user"] if api == "chat" else ["user"])
    assert "Be brief." in upstream.generations()[-1].body["messages"][0]["content"]
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Good mörning"},
        {"role": "user", "content": "more"},
    ]
    assert ask("ai_openai", "history", messages=history, api=api) == "Good mörning"
    assert roles(upstream) == ["user", "assistant", "user"]
    upstream.script(tokens(TEA_TEXT), done(), when="Which tea?")
    assert ask("ai_openai", "object", question="Which tea?", api=api) == TEA
    before = count_conversations(database_url, client)
    upstream.script(*calling("Oslo"), when=QUESTION)
    upstream.script(tokens("Sunny."), done(), when="Sun in Oslo")
    assert ask("ai_openai", "tools", question=QUESTION, api=api) == {"text": "Sunny.", "steps": 2}
    assert count_conversations(database_url, client) == before + 1
