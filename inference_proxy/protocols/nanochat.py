"""The platform's own inference service: `POST /generate`, `data: {"token": "…", "gpu": 0}` … `data: {"done": true}`."""

from typing import Any

import orjson
from django.conf import settings

from inference_proxy.exceptions import UpstreamError
from inference_proxy.protocols.base import Delta, GenerationRequest, load_object, without_unstorable

# The service refuses longer messages, and longer conversations.
MAX_MESSAGE_CHARACTERS = 8_000
MAX_TOTAL_CHARACTERS = 32_000
# Kept free of the total for what sending system text as user messages adds.
FOLDING_RESERVE_CHARACTERS = 1_000
DEFAULT_TEMPERATURE = 0.8
DEFAULT_MAX_TOKENS = 512
DEFAULT_TOP_K = 50


class Nanochat:
    max_message_characters: int | None = MAX_MESSAGE_CHARACTERS
    max_total_characters: int | None = MAX_TOTAL_CHARACTERS - FOLDING_RESERVE_CHARACTERS
    has_system_role = False
    path = "/generate"
    models_path = "/models"
    swap_path: str | None = "/models/swap"

    def headers(self) -> dict[str, str]:
        return {"X-Internal-API-Key": settings.INTERNAL_API_KEY}

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        sampling = request.sampling
        return {
            "messages": fold_system_messages(request.system_prompt, request.messages),
            "temperature": DEFAULT_TEMPERATURE if sampling.temperature is None else sampling.temperature,
            "max_tokens": DEFAULT_MAX_TOKENS if sampling.max_tokens is None else sampling.max_tokens,
            "top_k": DEFAULT_TOP_K if sampling.top_k is None else sampling.top_k,
        }

    def read_event(self, data: bytes) -> Delta:
        event = load_object(data)
        # Data that came in several lines leaves in one; between JSON's tokens a space is as good as a line break.
        data = data.replace(b"\n", b" ")
        token = event.get("token")
        if token is None:
            if event.get("error"):
                raise UpstreamError
            if event.get("done"):
                return Delta(is_end=True)
            return Delta(payload=data)
        if not isinstance(token, str):
            raise UpstreamError
        text = without_unstorable(token)
        if len(text) != len(token):
            data = orjson.dumps({**event, "token": text})
        return Delta(payload=data, text=text, is_end=event.get("done") is True)

    def may_end_here(self) -> bool:
        return False

    def read_models(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer


def fold_system_messages(system_prompt: str, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return messages of only `user` and `assistant`: system text is put before the user message that follows it."""
    folded: list[dict[str, str]] = []
    pending = [system_prompt] if system_prompt else []
    for message in messages:
        if message["role"] == "system":
            pending.append(message["content"])
        elif message["role"] == "user" and pending:
            room = max(0, MAX_MESSAGE_CHARACTERS - len(message["content"]) - 2)
            prefix = "\n\n".join(pending)[:room]
            folded.append({"role": "user", "content": f"{prefix}\n\n{message['content']}" if prefix else message["content"]})
            pending = []
        else:
            folded.append(message)
    return folded
