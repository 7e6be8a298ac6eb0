"""How a request becomes a turn: what every send goes through before its reply is delivered."""

from collections.abc import Callable
from typing import Any, ParamSpec
from uuid import UUID

from django.http import HttpRequest

from conversations.exceptions import GenerationInProgress, ShuttingDown
from conversations.services.turns.begin import Turn
from conversations.services.turns.busy import WhenBusy, begin_when_free
from conversations.services.turns.replies import live_replies
from conversations.services.turns.resume import find_begun_turn
from conversations.surfaces.delivery import Delivery, message_location
from conversations.surfaces.headers import read_last_event
from conversations.surfaces.open_streams import open_streams

Question = ParamSpec("Question")


def admit_send(user_id: UUID | None, how: Delivery) -> None:
    """Refuse a send that could not be answered, before anything of it is saved. Raises `ShuttingDown`, `TooManyStreams`."""
    if live_replies.is_shutting_down:
        raise ShuttingDown(retry_after_s=1)
    if how is not Delivery.LATER and user_id is not None:
        open_streams.refuse_too_many(user_id)


def begin_turn(
    request: HttpRequest,
    how: Delivery,
    when_busy: WhenBusy | None,
    verb: Callable[Question, Turn],
    /,
    *_: Question.args,
    **question: Question.kwargs,
) -> Turn:
    """Begin a turn with one of the verbs of `turns`, or return the one that this client has begun before and lost sight of.

    Raises `GenerationInProgress`, and what the verb raises.
    """
    asked: dict[str, Any] = dict(question)
    if (begun := _find_begun(request, how, asked)) is not None:
        return begun
    try:
        return begin_when_free(lambda: verb(**question), when_busy)
    except GenerationInProgress as refusal:
        if asked["user_id"] is not None and refusal.running_id is not None:
            refusal.headers["Location"] = f"{message_location(asked['conversation_id'], refusal.running_id)}/stream"
        raise


def _find_begun(request: HttpRequest, how: Delivery, asked: dict[str, Any]) -> Turn | None:
    # Only the frames of these streams have ids.
    last_event = read_last_event(request) if how in (Delivery.SSE, Delivery.NDJSON) else None
    # The verbs know a key by themselves. They begin another reply where the first one failed; a client that has read to the
    # end of that one reconnects without wanting it.
    if last_event is None or (asked["idempotency_key"] and not last_event.is_end):
        return None
    return find_begun_turn(
        conversation_id=asked["conversation_id"],
        user_id=asked["user_id"],
        content=asked.get("content"),
        idempotency_key=asked["idempotency_key"],
    )
