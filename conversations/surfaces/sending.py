"""Begin a reply and respond with it: what every surface does with a send, an edit or a regeneration."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from conversations.exceptions import GenerationInProgress
from conversations.services.sending.begin import send_turn
from conversations.services.sending.busy import begin_when_free
from conversations.services.sending.first_turns import Opening, begin_together
from conversations.services.sending.queue import enqueue_turn
from conversations.services.sending.resume import find_begun_continuation, find_begun_turn
from conversations.services.sending.turn import Turn
from conversations.surfaces.callers import caller_id
from conversations.surfaces.headers import read_idempotency_key, read_last_event
from conversations.surfaces.open_streams import open_streams
from conversations.surfaces.reply_delivery import STREAM_FORMATS, Delivery, deliver, message_location
from conversations.surfaces.send_metrics import count_sends
from conversations.when_busy import WhenBusy
from inference_proxy.replies.streams import StreamFormat

# `send_turn`, `edit_turn`, `regenerate_turn` or `continue_turn`
BeginTurn = Callable[..., Turn]


def respond_with_reply(
    request: Request,
    begin: BeginTurn,
    *,
    delivery: Delivery,
    read_message: Callable[[UUID], Any],
    formats: Mapping[Delivery, StreamFormat] = STREAM_FORMATS,
    when_busy: WhenBusy | None = None,
    **question: Any,
) -> HttpResponseBase:
    """Begin a turn of the caller and respond with its reply.

    `question` holds the arguments of `begin`, except the caller and the idempotency key. `read_message` returns a saved message
    in the surface's form. `formats` are how its streams look.
    """
    user_id, key = caller_id(request), read_idempotency_key(request)
    refuse_too_many_streams(user_id, delivery)
    turn = begin_turn(request, begin, delivery=delivery, when_busy=when_busy, user_id=user_id, idempotency_key=key, **question)
    if turn.is_waiting and delivery is Delivery.JSON and when_busy == "enqueue":
        # The client knows that it may have to wait.
        delivery = Delivery.LATER
    return deliver(request._request, turn, delivery, user_id=user_id, read_message=read_message, formats=formats)


def refuse_too_many_streams(user_id: UUID | None, delivery: Delivery) -> None:
    """Refuse a send that could not be answered, before it is saved. Raises `TooManyStreams`."""
    if delivery is not Delivery.LATER and user_id is not None:
        open_streams.refuse_without_room(user_id)


@count_sends
def begin_turn(
    request: HttpRequest,
    begin: BeginTurn,
    *,
    delivery: Delivery,
    conversation_id: UUID | Opening,
    user_id: UUID | None,
    idempotency_key: str,
    when_busy: WhenBusy | None = None,
    change: Callable[[], object] | None = None,
    **question: Any,
) -> Turn:
    """Begin a turn, or return the turn that this client began earlier, if the request continues its stream.

    The conversation may be one that this turn creates. `change` changes it together with the turn, or not at all; a turn with
    one can't wait behind others.

    Raises `GenerationInProgress`, and what `begin` raises.
    """
    asked: dict[str, Any] = {"user_id": user_id, "idempotency_key": idempotency_key}
    if not isinstance(conversation_id, UUID):
        create = conversation_id

        def begin_first() -> Turn:
            return begin_together(lambda: begin(conversation_id=create(), **asked, **question))

        return begin_when_free(begin_first, when_busy)
    asked["conversation_id"] = conversation_id
    if _continues_a_stream(request, delivery, idempotency_key):
        begun = _find_begun(asked, question)
        if begun is not None:
            return begun
    # As JSON, a message that may wait is answered at once, too.
    is_background = delivery is Delivery.LATER or (delivery is Delivery.JSON and when_busy == "enqueue")
    waits = partial(enqueue_turn, is_background=is_background, **asked, **question) if begin is send_turn else None

    def begin_here() -> Turn:
        if change is None:
            return begin(**asked, **question)
        return begin_together(partial(_change_and_begin, change, partial(begin, **asked, **question)))

    try:
        return begin_when_free(begin_here, when_busy, waits)
    except GenerationInProgress as refusal:
        if user_id is not None and refusal.running_id is not None:
            refusal.headers["Location"] = f"{message_location(conversation_id, refusal.running_id)}/stream"
        raise


def _change_and_begin(change: Callable[[], object], begin: Callable[[], Turn]) -> Turn:
    change()
    return begin()


def _find_begun(asked: dict[str, Any], question: dict[str, Any]) -> Turn | None:
    reply_id = question.get("reply_id")
    if reply_id is not None:
        return find_begun_continuation(conversation_id=asked["conversation_id"], user_id=asked["user_id"], reply_id=reply_id)
    return find_begun_turn(content=question.get("content"), **asked)


def _continues_a_stream(request: HttpRequest, delivery: Delivery, idempotency_key: str) -> bool:
    # Only the frames of these streams have ids.
    last_event = read_last_event(request) if delivery in (Delivery.SSE, Delivery.NDJSON) else None
    # With a key, the verbs find the earlier turn themselves. They begin another reply if the first one failed. A client that
    # has read that one to its end only reconnects, and wants no other reply.
    return last_event is not None and (last_event.is_end or not idempotency_key)
