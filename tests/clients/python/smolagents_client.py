"""smolagents: an agent that calls tools, and one that writes code."""

from lines import serve
from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent, tool


@tool
def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"Sun in {city}"


def model(address: str, token: str) -> OpenAIModel:
    return OpenAIModel(model_id="tiny", api_base=f"{address}/v1", api_key=token)


def tools(question: str, address: str, token: str) -> str:
    return str(ToolCallingAgent(tools=[weather], model=model(address, token), verbosity_level=0).run(question))


def code(question: str, address: str, token: str) -> str:
    return str(CodeAgent(tools=[weather], model=model(address, token), verbosity_level=0).run(question))


serve(tools=tools, code=code)
