"""LlamaIndex's `OpenAILike`: chat, streams, tools and typed answers."""

from typing import Any

from lines import serve
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Tea(BaseModel):
    """A tea."""

    name: str
    minutes: int


def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sun in {city}"


def model(address: str, token: str) -> OpenAILike:
    return OpenAILike(model="tiny", api_base=f"{address}/v1", api_key=token, is_chat_model=True, is_function_calling_model=True)


def chat(question: str, **where: Any) -> str | None:
    return model(**where).chat([ChatMessage(role="user", content=question)]).message.content


def stream(question: str, **where: Any) -> list[str]:
    found = model(**where).stream_chat([ChatMessage(role="user", content=question)])
    return [text for chunk in found if (text := chunk.delta)]


def tools(question: str, **where: Any) -> str:
    return str(model(**where).predict_and_call([FunctionTool.from_defaults(weather)], question).response)


def structured(question: str, **where: Any) -> dict[str, Any]:
    return model(**where).structured_predict(Tea, PromptTemplate(question)).model_dump()


serve(chat=chat, stream=stream, tools=tools, structured=structured)
