"""What the tests of function tools share: tools, and what a model sends that calls them."""

import json
from typing import Any

from tests.support.steps import Step, done, event

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
# The same, as a response names it.
WEATHER_FLAT: dict[str, Any] = {"type": "function", **WEATHER["function"]}
CITIES = ("Oslo", "São Paulo")


def arguments(city: str) -> str:
    return json.dumps({"city": city}, ensure_ascii=False)


def piece(index: int, **function: str) -> dict[str, Any]:
    call_id = {"id": f"call_{index}", "type": "function"} if "name" in function else {}
    return {"index": index, **call_id, "function": function}


def pieces(*calls: dict[str, Any]) -> Step:
    """Send these pieces of calls in one event."""
    return event(
        json.dumps({"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": None}]})
    )


def finish(word: str) -> Step:
    return event(json.dumps({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": word}]}))


def calling(*cities: str) -> tuple[Step, ...]:
    """Call the weather of each city, as OpenAI's models stream it."""
    steps: list[Step] = []
    for index, city in enumerate(cities):
        whole = arguments(city)
        steps.append(pieces(piece(index, name="weather", arguments="")))
        steps += [pieces(piece(index, arguments=part)) for part in (whole[:5], whole[5:])]
    return (*steps, finish("tool_calls"), event("[DONE]"))


__all__ = ["CITIES", "WEATHER", "WEATHER_FLAT", "arguments", "calling", "done", "finish", "piece", "pieces"]
