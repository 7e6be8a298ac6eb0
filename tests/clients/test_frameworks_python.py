"""Client libraries in Python that others wrote, unchanged, each in an environment with the packages that it needs."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.completion_cases import count_conversations
from tests.clients.node import PythonScript, python_of, why_environment_is_missing
from tests.clients.openai_cases import SETTINGS
from tests.clients.tool_cases import WEATHER, arguments, calling, finish, piece, pieces
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import Step, done, event, tokens
from tests.support.upstream import ScriptedUpstream

QUESTION = "How is the weather?"
TEA = {"name": "Assam", "minutes": 4}
TEA_TEXT = json.dumps(TEA)
Ask = Callable[..., Any]
Count = Callable[[], int]


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    # The prompt of an agent that writes code has some 10,000 characters.
    with new_server(**SETTINGS, MAX_MESSAGE_CHARACTERS="32000", MAX_TOKEN_BUDGET="100000") as server:
        yield server


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, PythonScript]]:
    running: dict[str, PythonScript] = {}
    yield running
    for script in running.values():
        script.end()


@pytest.fixture
def ask(service: Server, client: Client, scripts: dict[str, PythonScript]) -> Ask:
    """Tell a script what to do, as the user `client`. A module shares them: these packages take seconds to load."""

    def tell(environment: str, name: str, do: str, **command: Any) -> Any:
        if reason := why_environment_is_missing(environment):
            pytest.skip(reason)
        script = scripts.get(name)
        if script is None or not script.has_answered:
            script = scripts[name] = PythonScript(environment, f"{name}_client.py")
        script.tell(do=do, address=f"http://127.0.0.1:{service.port}", token=client.token, **command)
        # The first answer waits for the packages.
        return script.answer(limit_s=120)

    return tell


def call(name: str, given: str) -> tuple[Step, ...]:
    return (pieces(piece(0, name=name, arguments=given)), finish("tool_calls"), event("[DONE]"))


def roles(upstream: ScriptedUpstream) -> list[str]:
    return [message["role"] for message in upstream.generations()[-1].body["messages"]]


@pytest.fixture
def count(database_url: str, client: Client) -> Count:
    """How many conversations the user has: one, where the service knows the history again that a library sends."""
    return lambda: count_conversations(database_url, client)


APIS = pytest.mark.parametrize("responses", [False, True], ids=["completions", "responses"])


def of(responses: bool) -> dict[str, Any]:
    return {"use_responses_api": True} if responses else {}


@APIS
def test_langchain_asks_and_streams(responses: bool, ask: Ask, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("Good ", "mörning"), done(usage={"prompt_tokens": 7, "completion_tokens": 5}))
    found = ask("newer", "langchain", "invoke", question="hi", **of(responses))
    assert (found["text"], found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == ("Good mörning", 7, 5)
    pieces_of_text = ask("newer", "langchain", "stream", question="hi", **of(responses))
    assert ("".join(pieces_of_text), len(pieces_of_text)) == ("Good mörning", 2)


@APIS
@pytest.mark.parametrize("method", [None, "json_schema", "json_mode", "function_calling"])
def test_langchain_s_typed_answers(method: str | None, responses: bool, ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.script(*(call("Tea", TEA_TEXT) if method == "function_calling" else (tokens(TEA_TEXT), done())))
    assert ask("newer", "langchain", "structured", question="Which tea, as JSON?", method=method, **of(responses)) == TEA


@APIS
def test_langchain_s_tools(responses: bool, ask: Ask, count: Count, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo", "Rom"), when=QUESTION)
    upstream.script(tokens("Sunny."), done(), when="Sun in Rom")
    found = ask("newer", "langchain", "tools", question=QUESTION, **of(responses))
    assert ([one["args"] for one in found["calls"]], found["text"]) == ([{"city": "Oslo"}, {"city": "Rom"}], "Sunny.")
    assert (roles(upstream), count()) == (["user", "assistant", "tool", "tool"], 1)


@APIS
@pytest.mark.parametrize("kind", ["react", "agent"])
def test_langgraph_s_agent(kind: str, responses: bool, ask: Ask, count: Count, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    upstream.script(tokens("Sunny."), done(), when="Sun in Oslo")
    found = ask("newer", "langchain", "agent", kind=kind, question=QUESTION, **of(responses))
    assert (found, count()) == ({"kinds": ["human", "ai", "tool", "ai"], "text": "Sunny."}, 1)


def test_litellm(ask: Ask, count: Count, upstream: ScriptedUpstream) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    upstream.script(tokens("Good ", "mörning"), done())
    assert ask("newer", "litellm", "completion", messages=asked)["content"] == "Good mörning"
    assert ask("newer", "litellm", "stream", messages=asked) == ["Good ", "mörning"]
    assert ask("newer", "litellm", "responses", question=QUESTION) == "Good mörning"
    before = count()
    upstream.script(*calling("Oslo"), when=QUESTION)
    called = ask("newer", "litellm", "completion", messages=asked, tools=[WEATHER])
    assert called["tool_calls"][0]["function"] == {"name": "weather", "arguments": arguments("Oslo")}
    upstream.script(tokens("Sunny."), done(), when="Sun")
    output = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "Sun"}
    answered = ask("newer", "litellm", "completion", messages=[*asked, called, output], tools=[WEATHER])
    assert (answered["content"], roles(upstream)) == ("Sunny.", ["user", "assistant", "tool"])
    assert count() == before + 1


def test_smolagents(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.script(*call("weather", arguments("Oslo")), when=QUESTION)
    upstream.script(*call("final_answer", '{"answer": "Sunny."}'), when="Sun in Oslo")
    assert ask("newer", "smolagents", "tools", question=QUESTION) == "Sunny."
    upstream.script(tokens('Thought: simple.\n<code>\nfinal_answer(weather("Rom"))\n</code>'), done())
    assert ask("newer", "smolagents", "code", question=QUESTION) == "Sun in Rom"


def test_haystack(ask: Ask, count: Count, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("Good ", "mörning"), done())
    assert ask("newer", "haystack", "chat", question="hi", streams=False) == {"text": "Good mörning", "pieces": []}
    found = ask("newer", "haystack", "chat", question="hi", streams=True)
    assert found == {"text": "Good mörning", "pieces": ["Good ", "mörning"]}
    upstream.script(*calling("Oslo"), when=QUESTION)
    upstream.script(tokens("Sunny."), done(), when="Sun in Oslo")
    before = count()
    assert ask("newer", "haystack", "agent", question=QUESTION) == "Sunny."
    assert count() == before + 1


def test_the_command_llm(service: Server, client: Client, count: Count, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    if reason := why_environment_is_missing("newer"):
        pytest.skip(reason)
    model = f"- model_id: mine\n  model_name: tiny\n  api_base: http://127.0.0.1:{service.port}/v1\n  api_key_name: mine\n"
    (tmp_path / "extra-openai-models.yaml").write_text(model + "  supports_schema: true\n")
    (tmp_path / "keys.json").write_text(json.dumps({"mine": client.token}))
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}

    def run(*options: str) -> str:
        command = [str(python_of("newer")), "-m", "llm", "-m", "mine", *options]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    upstream.script(tokens("Good ", "mörning"), done())
    assert run("hi") == "Good mörning"
    assert run("--no-stream", "-s", "Be brief.", "hi again") == "Good mörning"
    before = count()
    assert run("-c", "and more") == "Good mörning"
    assert count() == before
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]][-3:] == [
        "hi again",
        "Good mörning",
        "and more",
    ]
    upstream.script(tokens(TEA_TEXT), done())
    assert json.loads(run("--schema", "name, minutes int", "Which tea?")) == TEA


@pytest.mark.parametrize("mode", ["TOOLS", "JSON", "JSON_SCHEMA", "MD_JSON"])
def test_instructor(mode: str, ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.script(*(call("Tea", TEA_TEXT) if mode == "TOOLS" else (tokens(TEA_TEXT), done())))
    assert ask("older", "instructor", "extract", question="Which tea?", mode=mode) == TEA


def test_instructor_streams(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens('{"name": "Ass', 'am", "minutes": 4}'), done())
    assert ask("older", "instructor", "partial", question="Which tea?")[-1] == TEA


def test_llama_index(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("Good ", "mörning"), done())
    assert ask("older", "llama_index", "chat", question="hi") == "Good mörning"
    assert ask("older", "llama_index", "stream", question="hi") == ["Good ", "mörning"]
    upstream.script(*calling("Oslo"), when=QUESTION)
    assert ask("older", "llama_index", "tools", question=QUESTION) == "Sun in Oslo"
    upstream.script(*call("Tea", TEA_TEXT), when="Which tea?")
    assert ask("older", "llama_index", "structured", question="Which tea?") == TEA
