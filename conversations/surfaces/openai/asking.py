"""Begin the turn of a response, so that a request that is repeated asks its question once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest

from conversations.exceptions import GenerationInProgress
from conversations.services.openings import Said, discard_if_empty, open_conversation
from conversations.services.responses import find_reply
from conversations.services.turns.begin import Terms, Turn, start_turn
from conversations.services.turns.busy import begin_when_free
from conversations.services.turns.repeats import find_repeated_turn
from conversations.services.turns.retries import fingerprint_of
from conversations.surfaces.openai.identifiers import read_conversation_id, read_response_id
from conversations.surfaces.openai.requests import ResponseCreateSerializer

# What the reply's row keeps of a request, so that the response shows it again.
KEPT = ("temperature", "max_output_tokens", "background", "instructions", "metadata")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a response belongs: a conversation, and the response that it must follow. None: a new conversation."""

    conversation_id: UUID | None = None
    after: UUID | None = None


def begin_response(request: HttpRequest, body: ResponseCreateSerializer, *, user_id: UUID, key: str) -> Turn:
    """Begin the turn of a response, or return the turn that the same request has begun.

    Raises `ConversationNotFound`, `ResponseNotFound`, `NotTheLastResponse`, and what `begin_when_free` raises.
    """
    asked = body.validated_data
    place = _place_of(asked, user_id)
    fingerprint = fingerprint_of("response", orjson.dumps(body.initial_data, option=orjson.OPT_SORT_KEYS).hex())

    def find_earlier() -> Turn | None:
        return find_repeated_turn(user_id=user_id, fingerprint=fingerprint, conversation_id=place.conversation_id)

    is_repeated = not key and _retry_count(request) > 0
    earlier = find_earlier() if is_repeated else None
    if earlier is not None:
        return earlier
    terms = _terms(asked, place, fingerprint)
    question: dict[str, Any] = {"content": asked["input"][-1].content, "sampling": body.sampling(), "terms": terms}

    def start(conversation_id: UUID) -> Turn:
        return start_turn(conversation_id=conversation_id, user_id=user_id, idempotency_key=key, **question)

    if place.conversation_id is None:
        return _start_in_new_conversation(start, asked, user_id, key)
    conversation_id = place.conversation_id
    if not is_repeated:
        return begin_when_free(lambda: start(conversation_id))
    try:
        return start(conversation_id)
    except GenerationInProgress:
        # The request that this one repeats may have been saved in the meantime.
        earlier = find_earlier()
        return earlier if earlier is not None else begin_when_free(lambda: start(conversation_id))


def _start_in_new_conversation(start: Callable[[UUID], Turn], asked: dict[str, Any], user_id: UUID, key: str) -> Turn:
    conversation_id = open_conversation(
        user_id=user_id,
        history=[Said(message.role, message.content) for message in asked["input"][:-1]],
        model_tag=asked.get("model") or "",
        temporary=asked.get("store") is False,
        key=key,
    )
    try:
        return begin_when_free(lambda: start(conversation_id))
    except Exception:
        # A keyed conversation may already have the turn of another request.
        if not key:
            discard_if_empty(conversation_id=conversation_id)
        raise


def _place_of(asked: dict[str, Any], user_id: UUID) -> _Place:
    if asked.get("conversation"):
        return _Place(read_conversation_id(asked["conversation"]))
    if asked.get("previous_response_id"):
        previous_id = read_response_id(asked["previous_response_id"])
        return _Place(find_reply(reply_id=previous_id, user_id=user_id), previous_id)
    return _Place()


def _terms(asked: dict[str, Any], place: _Place, fingerprint: str) -> Terms:
    options = {name: asked[name] for name in KEPT if asked.get(name) not in (None, {}, "", False)}
    if place.after is not None:
        options["previous_response_id"] = place.after.hex
    if len(asked["input"]) > 1:
        options["has_history"] = True
    return Terms(
        instructions=asked.get("instructions") or "",
        model_tag=asked.get("model") or "",
        after=place.after,
        fingerprint=fingerprint,
        options=options,
    )


def _retry_count(request: HttpRequest) -> int:
    count = request.META.get("HTTP_X_STAINLESS_RETRY_COUNT", "")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0
