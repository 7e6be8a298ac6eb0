"""Agent frameworks for Python, unchanged: OpenAI's Agents SDK and Pydantic AI. The service is their model and their memory."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIConversationsSession,
    RunConfig,
    Runner,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from agents.models.openai_provider import OpenAIProvider
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider as PydanticProvider

from tests.clients.openai_cases import SETTINGS
from tests.clients.tool_cases import calling, finish, piece, pieces
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import Step, done, event, tokens
from tests.support.upstream import ScriptedUpstream

set_tracing_disabled(True)


class Tea(BaseModel):
    name: str
    minutes: int


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def address(service: Server) -> str:
    return f"http://127.0.0.1:{service.port}/v1"


def call(name: str, arguments: str) -> tuple[Step, ...]:
    return (pieces(piece(0, name=name, arguments=arguments)), finish("tool_calls"), event("[DONE]"))


@function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sun in {city}"


def roles(upstream: ScriptedUpstream) -> list[str]:
    return [message["role"] for message in upstream.generations()[-1].body["messages"]]


async def run(agent: Agent[Any], question: str, client: AsyncOpenAI, *, responses: bool = True, **more: Any) -> Any:
    config = RunConfig(model_provider=OpenAIProvider(openai_client=client, use_responses=responses))
    return await Runner.run(agent, question, run_config=config, **more)


@pytest.mark.parametrize("responses", [True, False], ids=["responses", "completions"])
def test_an_agent_with_a_tool(responses: bool, address: str, client: Client, upstream: ScriptedUpstream) -> None:
    async def talk() -> Any:
        async with AsyncOpenAI(base_url=address, api_key=client.token) as api:
            agent = Agent(name="Helper", instructions="Be brief.", model="tiny", tools=[weather])
            upstream.script(*calling("Oslo", "Rom"), when="How is the weather?")
            upstream.script(tokens("Sunny."), done(), when="Sun in Rom")
            return await run(agent, "How is the weather?", api, responses=responses)

    result = asyncio.run(talk())
    assert result.final_output == "Sunny."
    assert roles(upstream) == ["system", "user", "assistant", "tool", "tool"]
    outputs = [one["content"] for one in upstream.generations()[-1].body["messages"] if one["role"] == "tool"]
    assert outputs == ["Sun in Oslo", "Sun in Rom"]


@pytest.mark.parametrize("responses", [True, False], ids=["responses", "completions"])
def test_an_agent_streams(responses: bool, address: str, client: Client, upstream: ScriptedUpstream) -> None:
    async def talk() -> tuple[str, Any]:
        async with AsyncOpenAI(base_url=address, api_key=client.token) as api:
            agent = Agent(name="Helper", instructions="Be brief.", model="tiny", tools=[weather])
            upstream.script(*calling("Oslo"), when="How is the weather?")
            upstream.script(tokens("Sunny", "."), done(), when="Sun in Oslo")
            config = RunConfig(model_provider=OpenAIProvider(openai_client=api, use_responses=responses))
            result = Runner.run_streamed(agent, "How is the weather?", run_config=config)
            events = [event async for event in result.stream_events()]
            raw = [event.data for event in events if event.type == "raw_response_event"]
            return "".join(one.delta for one in raw if one.type == "response.output_text.delta"), result.final_output

    assert asyncio.run(talk()) == ("Sunny.", "Sunny.")


def test_an_agent_that_hands_off(address: str, client: Client, upstream: ScriptedUpstream) -> None:
    async def talk() -> Any:
        async with AsyncOpenAI(base_url=address, api_key=client.token) as api:
            cook = Agent(name="Cook", instructions="You cook.", model="tiny", output_type=Tea)
            host = Agent(name="Host", instructions="You greet.", model="tiny", handoffs=[handoff(cook)])
            upstream.script(*call("transfer_to_cook", "{}"), when="Which tea?")
            upstream.script(tokens('{"name": "Assam", "minutes": 4}'), done(), when="assistant")
            return await run(host, "Which tea?", api)

    result = asyncio.run(talk())
    assert (result.final_output, result.last_agent.name) == (Tea(name="Assam", minutes=4), "Cook")
    assert upstream.generations()[-1].body["response_format"]["type"] == "json_schema"


def test_a_session_is_a_conversation_here(address: str, client: Client, upstream: ScriptedUpstream) -> None:
    async def talk() -> tuple[Any, Any, list[Any], Any]:
        async with AsyncOpenAI(base_url=address, api_key=client.token) as api:
            session = OpenAIConversationsSession(openai_client=api)
            agent = Agent(name="Helper", model="tiny", tools=[weather], model_settings=ModelSettings(store=False))
            upstream.script(*calling("Oslo"), when="How is the weather?")
            upstream.script(tokens("Sunny."), done(), when="Sun in Oslo")
            first = await run(agent, "How is the weather?", api, session=session)
            upstream.script(tokens("You're welcome."), done(), when="Thanks!")
            second = await run(agent, "Thanks!", api, session=session)
            items = await session.get_items()
            popped = await session.pop_item()
            assert await session.get_items() == items[:-1]
            await session.clear_session()
            return first, second, items, popped

    first, second, items, popped = asyncio.run(talk())
    assert (first.final_output, second.final_output) == ("Sunny.", "You're welcome.")
    kinds = ["message", "function_call", "function_call_output", "message", "message", "message"]
    assert [item["type"] for item in items] == kinds
    assert popped["content"][0]["text"] == "You're welcome."
    assert roles(upstream) == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize("model", [OpenAIChatModel, OpenAIResponsesModel], ids=["completions", "responses"])
def test_pydantic_ai_with_a_tool_and_an_output(model: Any, address: str, client: Client, upstream: ScriptedUpstream) -> None:
    async def talk() -> Any:
        async with AsyncOpenAI(base_url=address, api_key=client.token) as api:
            agent = PydanticAgent(model("tiny", provider=PydanticProvider(openai_client=api)), output_type=Tea)

            @agent.tool_plain
            def shelf() -> str:
                """List what is there."""
                return "Assam, Sencha"

            upstream.script(*call("shelf", "{}"), when="Which tea?")
            upstream.script(*call("final_result", '{"name": "Assam", "minutes": 4}'), when="Assam, Sencha")
            return await agent.run("Which tea?")

    assert asyncio.run(talk()).output == Tea(name="Assam", minutes=4)
    assert roles(upstream) == ["user", "assistant", "tool"]


@pytest.mark.parametrize("model", [OpenAIChatModel, OpenAIResponsesModel], ids=["completions", "responses"])
def test_pydantic_ai_streams(model: Any, address: str, client: Client, upstream: ScriptedUpstream) -> None:
    async def talk() -> list[str]:
        async with AsyncOpenAI(base_url=address, api_key=client.token) as api:
            agent = PydanticAgent(model("tiny", provider=PydanticProvider(openai_client=api)))
            upstream.script(tokens("Good ", "mörning"), done())
            async with agent.run_stream("hi") as found:
                return [piece async for piece in found.stream_text(delta=True, debounce_by=None)]

    assert "".join(asyncio.run(talk())) == "Good mörning"
