"""litellm, with the service as a server of OpenAI's protocol."""

import os
from typing import Any

# Otherwise it asks the network for prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from lines import serve

litellm.telemetry = False


def completion(messages: list[dict[str, Any]], address: str, token: str, **more: Any) -> dict[str, Any]:
    found = litellm.completion(model="openai/tiny", api_base=f"{address}/v1", api_key=token, messages=messages, **more)
    return found.choices[0].message.model_dump()


def stream(messages: list[dict[str, Any]], address: str, token: str, **more: Any) -> list[str]:
    found = litellm.completion(
        model="openai/tiny", api_base=f"{address}/v1", api_key=token, messages=messages, stream=True, **more
    )
    return [text for chunk in found if (text := chunk.choices[0].delta.content)]


def responses(question: str, address: str, token: str) -> str:
    found = litellm.responses(model="openai/tiny", api_base=f"{address}/v1", api_key=token, input=question)
    return found.output[-1].content[0].text


serve(completion=completion, stream=stream, responses=responses)
