"""What an inference protocol is: how to ask, and how to read each event of the answer."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from inference_proxy.exceptions import UpstreamError

# PostgreSQL stores neither, and no client can show them.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens; None leaves the choice to the protocol's or the service's default."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One question to the model.

    `messages` is `list[{"role": "user" | "assistant" | "system", "content": str}]`, oldest first.
    """

    messages: list[dict[str, str]]
    system_prompt: str = ""
    model_tag: str = ""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(slots=True)
class Delta:
    """What one event of the answer brought.

    `payload` is the JSON object to relay, `{"token": …}`, as bytes; None where the event is not for clients.
    """

    payload: bytes | None = None
    text: str = ""
    is_end: bool = False
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class InferenceProtocol(Protocol):
    """One instance serves one generation, so it may keep state between events."""

    # What the service accepts, None where it sets no limit. The caller chooses messages that keep these limits; the protocol
    # never cuts one. The system prompt counts as a message of its own, also where `has_system_role` is false and the protocol
    # puts it into or before a user message: what the protocol adds then is already subtracted from `max_total_characters`.
    max_message_characters: int | None
    max_total_characters: int | None
    has_system_role: bool
    path: str
    models_path: str
    swap_path: str | None

    def headers(self) -> dict[str, str]: ...

    def body(self, request: GenerationRequest) -> dict[str, Any]: ...

    def read_event(self, data: bytes) -> Delta:
        """Read one event. Raises `UpstreamError` where it reports a failure or is not of the protocol."""
        ...

    def may_end_here(self) -> bool:
        """Tell whether the answer is whole if the stream ends without a word about it."""
        ...

    def read_models(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return `{"current_model", "models": [{"model_tag", "source", "path", "loaded"}]}`."""
        ...


def load_object(data: bytes) -> dict[str, Any]:
    """Parse an event's JSON object. Raises `UpstreamError`."""
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            # The standard library accepts escaped lone surrogates, which orjson refuses; they are removed later.
            event = json.loads(data)
        except ValueError:
            raise UpstreamError from None
    if not isinstance(event, dict):
        raise UpstreamError
    return event


def without_unstorable(text: str) -> str:
    """Remove NUL characters and lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return UNSTORABLE.sub("", text)


def whole_number(value: Any) -> int | None:
    # bool is an int to Python, and a column holds 32 bits.
    return value if type(value) is int and 0 <= value < 2**31 else None
