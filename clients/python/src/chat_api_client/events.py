"""What a reply's stream says, one object after the other."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Token:
    """More of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The reply failed. What came before it is saved. `Done` follows."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The first reply came to nothing, and another one begins: what was said so far does not count."""


@dataclass(frozen=True, slots=True)
class Done:
    """The end. `status` is complete, stopped, interrupted or failed."""

    status: str
    message_id: str
    finish_reason: str
    token_count: int
    inference_time_ms: int


Event = Token | Reasoning | Failure | Restarted | Done


def read_event(said: dict[str, Any]) -> Event | None:
    """Return what a JSON object of the stream says. None: something that this version does not know."""
    if said.get("done"):
        return Done(
            status=str(said.get("status", "")),
            message_id=str(said.get("message_id", "")),
            finish_reason=str(said.get("finish_reason", "")),
            token_count=int(said.get("token_count") or 0),
            inference_time_ms=int(said.get("inference_time_ms") or 0),
        )
    if "error" in said:
        return Failure(str(said["error"]), str(said.get("detail", "")))
    if "token" in said:
        return Token(str(said["token"]))
    return Reasoning(str(said["reasoning"])) if "reasoning" in said else None
