"""Begin the turn of a response, so that a request that is repeated asks its question once."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest

from chatapi.problem import Problem
from conversations.exceptions import GenerationInProgress
from conversations.services.sending.begin import Terms, Turn, start_turn
from conversations.services.sending.busy import begin_when_free
from conversations.services.sending.first_turns import begin_together
from conversations.services.sending.model_tags import require_allowed
from conversations.services.sending.retries import fingerprint_of
from conversations.surfaces.delivery import Delivery
from conversations.surfaces.openai.deleting import find_reply
from conversations.surfaces.openai.identifiers import read_conversation_id, read_response_id
from conversations.surfaces.openai.openings import Said, open_conversation
from conversations.surfaces.openai.repeats import Same, find_repeated_turn, forget_ended_turns, wait_for_same_request
from conversations.surfaces.openai.requests import ResponseCreateSerializer
from conversations.surfaces.sending import refuse_too_many_streams

# What the reply's row keeps of a request, so that the response shows it again.
KEPT = ("temperature", "max_output_tokens", "background", "instructions", "metadata")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a response belongs: a conversation, and the response that it must follow. None: a new conversation."""

    conversation_id: UUID | None = None
    after: UUID | None = None


def begin_response(request: HttpRequest, body: ResponseCreateSerializer, *, user_id: UUID, key: str) -> Turn:
    """Begin the turn of a response, or return the turn that the same request has begun.

    Raises `ConversationNotFound`, `ResponseNotFound`, `NotTheLastResponse`, `TooManyStreams`, and what `begin_when_free`
    raises.
    """
    asked = body.validated_data
    place = _place_of(asked, user_id)
    fingerprint = fingerprint_of("response", body.take_written().hex())
    same = Same(user_id, fingerprint, place.conversation_id)
    try:
        refuse_too_many_streams(user_id, Delivery.LATER if asked.get("background") else Delivery.SSE)
        return _begin(body, place, same, key=key, is_repeated=not key and _retry_count(request) > 0)
    except Problem:
        if not key:
            # The package repeats this request, which asked nothing. An earlier turn with the same words is not its answer.
            forget_ended_turns(same)
        raise


def _begin(body: ResponseCreateSerializer, place: _Place, same: Same, *, key: str, is_repeated: bool) -> Turn:
    earlier = find_repeated_turn(same) if is_repeated else None
    if earlier is not None:
        return earlier
    asked, user_id = body.validated_data, same.user_id
    question: dict[str, Any] = {
        "content": asked["input"][-1].content,
        "sampling": body.sampling(),
        "terms": _terms(asked, place, same.fingerprint),
    }

    def start(conversation_id: UUID) -> Turn:
        return start_turn(conversation_id=conversation_id, user_id=user_id, idempotency_key=key, **question)

    def start_first() -> Turn:
        if not key:
            wait_for_same_request(same)
            begun = find_repeated_turn(same) if is_repeated else None
            if begun is not None:
                return begun
        return start(_open(asked, user_id, key))

    if place.conversation_id is None:
        # Before the transaction, because it may call the inference service.
        require_allowed(asked.get("model"))
        return begin_when_free(lambda: begin_together(start_first))
    conversation_id = place.conversation_id
    if not is_repeated:
        return begin_when_free(lambda: start(conversation_id))
    try:
        return start(conversation_id)
    except GenerationInProgress:
        # The request that this one repeats may have been saved in the meantime.
        earlier = find_repeated_turn(same)
        return earlier if earlier is not None else begin_when_free(lambda: start(conversation_id))


def _open(asked: dict[str, Any], user_id: UUID, key: str) -> UUID:
    return open_conversation(
        user_id=user_id,
        history=[Said(message.role, message.content) for message in asked["input"][:-1]],
        model_tag=asked.get("model") or "",
        temporary=asked.get("store") is False,
        key=key,
    )


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
