"""What this process has learnt of the lengths that models take, and how a request becomes shorter.

The service is first asked with the whole context. If it says that this is too long, it is asked again with the newer half of
the exchanges, and so on, until only the newest question is left. Two numbers are remembered per model, so that later requests
are short enough at once: how long its context is, and how many bytes a token has. Bytes and not characters, because scripts
differ less in them: a Chinese token has a third of the characters of an English one, but nearly as many bytes. The latest count
of tokens wins, and after an hour the whole context is tried again. Otherwise one user's odd text would shorten the context of
all others for good.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from inference_proxy.protocols.base import GenerationRequest

REMEMBERED_S = 3600.0
# The models of which something is remembered, at most.
MOST_MODELS = 1_000
# What a token can have. A service that counts otherwise has not counted this request.
LEAST_BYTES_PER_TOKEN, MOST_BYTES_PER_TOKEN = 0.25, 20.0
USUAL_BYTES_PER_TOKEN = 4.0
# Shorter prompts say little of how many bytes a token has.
LEAST_COUNTED_TOKENS = 200
# Of the limit, kept free for the reply if the request does not say how long that may be.
REPLY_SHARE = 1 / 8
LARGEST_REPLY_SHARE = 1 / 2


@dataclass(frozen=True, slots=True)
class _Limit:
    prompt_tokens: float
    bytes_per_token: float
    forget_at: float

    @property
    def size(self) -> float:
        return self.prompt_tokens * self.bytes_per_token


def size_of(request: GenerationRequest) -> int:
    """Return the length of a request in bytes."""
    return len(request.system_prompt.encode()) + len(request.continues.encode()) + sum(map(_size_of, request.messages))


def _size_of(message: dict[str, Any]) -> int:
    texts = [part for name, part in message.items() if name != "role" and isinstance(part, str)]
    for call in message.get("tool_calls") or ():
        texts += [call["function"]["name"], call["function"]["arguments"]]
    return sum(len(text.encode()) for text in texts)


def shortened(request: GenerationRequest) -> GenerationRequest | None:
    """Return the request with the newer half of its exchanges, at last with the newest question alone; None if it is that."""
    begins = _beginnings(request)
    before = max(0, len(begins) - 1)
    return _from(request, begins[before - before // 2]) if before > 0 else _alone(request)


def _beginnings(request: GenerationRequest) -> list[int]:
    """Return where the exchanges begin, the oldest first; the last one is the newest question."""
    places = [place for place, message in enumerate(request.messages[:-1]) if message["role"] == "user"]
    # Outputs of tools belong to the question whose answer called them.
    return places if request.messages[-1]["role"] == "tool" else [*places, len(request.messages) - 1]


def _from(request: GenerationRequest, place: int) -> GenerationRequest:
    rows = request.rows or (1,) * len(request.messages)
    return replace(
        request,
        messages=request.messages[place:],
        rows=rows[place:],
        left_out=request.left_out + sum(rows[:place]),
    )


def _alone(request: GenerationRequest) -> GenerationRequest | None:
    """Return the request without the unanswered questions that the newest one was joined with."""
    newest = request.messages[-1]
    if newest["role"] == "tool" or not request.newest or newest["content"] == request.newest:
        return None
    rows = request.rows[-1] if request.rows else 1
    alone = [{"role": newest["role"], "content": request.newest}]
    return replace(request, messages=alone, rows=(1,), left_out=request.left_out + rows - 1)


class ModelLimits:
    """The limits that this process knows, by model."""

    def __init__(self) -> None:
        self._limits: OrderedDict[str, _Limit] = OrderedDict()

    def fit(self, model: str, request: GenerationRequest) -> GenerationRequest:
        """Return the request with as many of its newest exchanges as the model is known to take."""
        limit = self._known(model)
        if limit is None or size_of(request) <= limit.size:
            return request
        shorter = request
        for place in _beginnings(request)[1:]:
            shorter = _from(request, place)
            if size_of(shorter) <= limit.size:
                return shorter
        return _alone(shorter) or shorter

    def learn_limit(self, model: str, size: int, named: tuple[int, int], max_tokens: int | None) -> bool:
        """Remember the limit and the length in tokens that a service named; return whether that is plausible."""
        limit, length = named
        room = limit - min(max_tokens or limit * REPLY_SHARE, limit * LARGEST_REPLY_SHARE)
        bytes_per_token = size / length
        # It was refused, so a limit that it is within can't be the right one.
        if not (LEAST_BYTES_PER_TOKEN <= bytes_per_token <= MOST_BYTES_PER_TOKEN and room < length):
            return False
        self._remember(model, room, bytes_per_token)
        return True

    def learn_taken(self, model: str, size: int, prompt_tokens: int | None) -> None:
        """Remember that a request of this size was taken where a longer one was not, and no limit was named."""
        bytes_per_token = _ratio(size, prompt_tokens) or USUAL_BYTES_PER_TOKEN
        self._remember(model, size / bytes_per_token, bytes_per_token)

    def note_count(self, model: str, size: int, prompt_tokens: int | None) -> None:
        """Note how many tokens a request had, if something is known of its model."""
        limit, bytes_per_token = self._known(model), _ratio(size, prompt_tokens)
        if limit is not None and bytes_per_token is not None:
            self._limits[model] = replace(limit, bytes_per_token=bytes_per_token)

    def knows(self, model: str) -> bool:
        return self._known(model) is not None

    def forget(self) -> None:
        self._limits.clear()

    def _known(self, model: str) -> _Limit | None:
        limit = self._limits.get(model)
        return limit if limit is not None and time.monotonic() < limit.forget_at else None

    def _remember(self, model: str, prompt_tokens: float, bytes_per_token: float) -> None:
        self._limits[model] = _Limit(prompt_tokens, bytes_per_token, time.monotonic() + REMEMBERED_S)
        self._limits.move_to_end(model)
        while len(self._limits) > MOST_MODELS:
            self._limits.popitem(last=False)


def _ratio(size: int, prompt_tokens: int | None) -> float | None:
    """Return how many bytes a token of a request had, where the count says that plausibly."""
    if not prompt_tokens or prompt_tokens < LEAST_COUNTED_TOKENS:
        return None
    bytes_per_token = size / prompt_tokens
    return bytes_per_token if LEAST_BYTES_PER_TOKEN <= bytes_per_token <= MOST_BYTES_PER_TOKEN else None


model_limits = ModelLimits()
