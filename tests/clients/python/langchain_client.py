"""LangChain's `ChatOpenAI` and LangGraph's prepared agent, as their documentation uses them."""

from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent
from lines import serve
from pydantic import BaseModel


class Tea(BaseModel):
    """A tea."""

    name: str
    minutes: int


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sun in {city}"


def model(address: str, token: str, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model="tiny", base_url=f"{address}/v1", api_key=token, **more)


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def invoke(question: str, **where: Any) -> dict[str, Any]:
    answer = model(**where).invoke(question)
    return {"text": text_of(answer.content), "usage": answer.usage_metadata}


def stream(question: str, **where: Any) -> list[str]:
    return [text for chunk in model(**where).stream(question) if (text := text_of(chunk.content))]


def structured(question: str, method: str | None = None, **where: Any) -> dict[str, Any]:
    asked = model(**where)
    typed = asked.with_structured_output(Tea, method=method) if method else asked.with_structured_output(Tea)
    return typed.invoke(question).model_dump()


def tools(question: str, **where: Any) -> dict[str, Any]:
    bound = model(**where).bind_tools([weather])
    messages: list[Any] = [HumanMessage(question)]
    messages.append(bound.invoke(messages))
    for call in messages[-1].tool_calls:
        messages.append(ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]))
    return {"calls": messages[1].tool_calls, "text": text_of(bound.invoke(messages).content)}


def agent(question: str, kind: str, **where: Any) -> dict[str, Any]:
    make = {"react": lambda chat: create_react_agent(chat, [weather]), "agent": lambda chat: create_agent(chat, [weather])}[
        kind
    ]
    found = make(model(**where)).invoke({"messages": [("user", question)]})["messages"]
    return {"kinds": [each.type for each in found], "text": text_of(found[-1].content)}


serve(invoke=invoke, stream=stream, structured=structured, tools=tools, agent=agent)
