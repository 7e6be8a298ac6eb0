"""instructor: typed answers, by tools and by JSON."""

from typing import Any

import instructor
from lines import serve
from openai import OpenAI
from pydantic import BaseModel


class Tea(BaseModel):
    name: str
    minutes: int


def extract(question: str, mode: str, address: str, token: str) -> dict[str, Any]:
    client = instructor.from_openai(OpenAI(base_url=f"{address}/v1", api_key=token), mode=instructor.Mode[mode])
    messages: list[Any] = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="tiny", messages=messages, response_model=Tea).model_dump()


def partial(question: str, address: str, token: str) -> list[dict[str, Any]]:
    client = instructor.from_openai(OpenAI(base_url=f"{address}/v1", api_key=token), mode=instructor.Mode.JSON)
    messages: list[Any] = [{"role": "user", "content": question}]
    found = client.chat.completions.create_partial(model="tiny", messages=messages, response_model=Tea)
    return [each.model_dump() for each in found]


serve(extract=extract, partial=partial)
