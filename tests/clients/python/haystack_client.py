"""Haystack's chat generator, with streaming, and its agent with a tool."""

import os
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from haystack.utils import Secret
from lines import serve


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sun in {city}"


def generator(address: str, token: str, **more: Any) -> OpenAIChatGenerator:
    return OpenAIChatGenerator(api_key=Secret.from_token(token), model="tiny", api_base_url=f"{address}/v1", **more)


def chat(question: str, streams: bool, address: str, token: str) -> dict[str, Any]:
    pieces: list[str] = []
    more = {"streaming_callback": lambda chunk: pieces.append(chunk.content)} if streams else {}
    found = generator(address, token, **more).run([ChatMessage.from_user(question)])
    return {"text": found["replies"][0].text, "pieces": [piece for piece in pieces if piece]}


def agent(question: str, address: str, token: str) -> str:
    found = Agent(chat_generator=generator(address, token), tools=[weather]).run([ChatMessage.from_user(question)])
    return found["messages"][-1].text


serve(chat=chat, agent=agent)
