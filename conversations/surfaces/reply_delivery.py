"""Delivery of a reply: as a stream, as finished JSON, or as a 202 with the place to follow it.

This module makes the streaming responses of every surface. It releases the request's database connection first, so that no
connection is held while a reply is streamed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.api.wire import Response
from chatapi.database.connections import forget_connections, release_connections
from chatapi.permits.permit import Permit, Permits
from conversations.exceptions import MessageNotFound
from conversations.services.replies.follow import follow_reply
from conversations.services.replies.store import live_replies
from conversations.services.replies.waiting import WaitingFollower
from conversations.services.sending.turn import Turn
from conversations.surfaces.headers import LastEvent, read_last_event, replay_headers
from conversations.surfaces.open_streams import open_streams
from inference_proxy.exceptions import FAILURES, UpstreamError, UpstreamFailure
from inference_proxy.replies.frames import START, Cursor, cursor_of
from inference_proxy.replies.presence import Presence, is_connected
from inference_proxy.replies.streams import (
    NDJSON,
    SSE,
    TEXT,
    Follower,
    FrameStream,
    FrameStreamResponse,
    StreamFormat,
    headers_only,
    mark_of,
    marked,
    without_reasoning,
)

# If the inference service refuses within this time, the answer is an HTTP error instead of a stream.
REFUSAL_WAIT_S = 3.0
SILENCE_S = 60.0
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
RESTARTED = {"X-Stream-Restarted": "true"}


class Delivery(Enum):
    SSE = "sse"
    NDJSON = "ndjson"
    JSON = "json"
    TEXT = "text"
    # A surface's own events, which have no ids of ours. Such a stream is only ever read from its start.
    EVENTS = "events"
    LATER = "later"


STREAM_FORMATS = {Delivery.SSE: SSE, Delivery.NDJSON: NDJSON}
# For the surfaces whose clients know only the text of a reply.
TEXT_STREAM_FORMATS = {
    Delivery.SSE: without_reasoning(SSE),
    Delivery.NDJSON: without_reasoning(NDJSON),
    Delivery.TEXT: TEXT,
}


def choose_delivery(request: HttpRequest, stream: bool | None = None, default: Delivery = Delivery.SSE) -> Delivery:
    """Return the delivery that the request asks for, by `Prefer: respond-async`, then `stream`, then the Accept header."""
    if re.search(r"(^|[,;\s])respond-async($|[,;\s])", request.META.get("HTTP_PREFER", "").lower()):
        return Delivery.LATER
    if stream is False:
        return Delivery.JSON
    accepted = _preferred(request.META.get("HTTP_ACCEPT", ""))
    if accepted is Delivery.JSON and stream:
        return default
    return accepted or default


def _preferred(accept: str) -> Delivery | None:
    known = {SSE.media_type: Delivery.SSE, NDJSON.media_type: Delivery.NDJSON, "application/json": Delivery.JSON}
    offers: list[tuple[float, int, Delivery]] = []
    for position, part in enumerate(accept.lower().split(",")):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        weight = float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 0.0
        if media_type in known and weight > 0:
            offers.append((-weight, position, known[media_type]))
    return min(offers)[2] if offers else None


def presence_of(request: HttpRequest) -> Presence:
    """Return a function that tells whether the client is still connected. It needs gunicorn's socket."""
    return partial(is_connected, request.META.get("gunicorn.socket"))


def begin_generation(turn: Turn, is_present: Presence, *, after: Cursor = START, is_background: bool = False) -> Follower:
    """Start a turn's reply and follow it after the cursor `after`.

    A reply in the background goes on without a follower, and another send does not interrupt it by default.

    Raises an `UpstreamFailure` with the turn's ids where the inference service refuses within 3 s.
    """
    release_connections()
    if turn.request is None:
        return _follow(turn.reply_id, after, is_present, is_waiting=turn.is_waiting)
    generation = live_replies.start(turn.reply_id, turn.request, former=turn.former, is_background=is_background)
    follower = generation.transcript.follow(after, is_present)
    generation.has_begun.wait(REFUSAL_WAIT_S)
    if generation.refusal is not None:
        follower.close()
        refusal = generation.refusal
        raise type(refusal)(refusal.text, retry_after_s=refusal.retry_after_s, **refusal.extra, **turn_ids(turn))
    return follower


def _follow(reply_id: UUID, after: Cursor, is_present: Presence, *, is_waiting: bool) -> Follower:
    return WaitingFollower(reply_id, after, is_present) if is_waiting else follow_reply(reply_id, after, is_present)


def turn_ids(turn: Turn) -> dict[str, Any]:
    return {
        "conversation_id": str(turn.conversation_id),
        "message_id": str(turn.reply_id),
        "user_message_id": str(turn.user_message_id),
    }


@contextmanager
def open_permit(
    owner_id: UUID, is_present: Presence, *, limited: bool = True, streams: Permits = open_streams
) -> Iterator[Permit]:
    """Count a stream as open. If the block fails, count it as closed. Raises `TooManyStreams` unless `limited` is false."""
    permit = streams.acquire(owner_id, is_present=is_present) if limited else streams.hold(owner_id, is_present=is_present)
    try:
        yield permit
    except BaseException:
        permit.release()
        raise


def stream_reply(
    request: HttpRequest,
    reply_id: UUID,
    stream_format: StreamFormat,
    *,
    after: Cursor,
    owner_id: UUID,
    headers: Mapping[str, str] = NO_HEADERS,
    is_waiting: bool = False,
) -> HttpResponseBase:
    """Return the stream of a reply, running or ended, from a cursor on, or of one that still waits. Raises `TooManyStreams`.

    HEAD gets the headers at once: it has no body to wait for.
    """
    headers = {"X-Message-Id": str(reply_id), **headers}
    if request.method == "HEAD":
        release_connections()
        return headers_only(stream_format.media_type, headers)
    is_present = presence_of(request)
    with open_permit(owner_id, is_present) as permit:
        follower = _follow(reply_id, after, is_present, is_waiting=is_waiting)
        return relay(request, follower, stream_format, headers, permit)


def stream_turn(
    request: HttpRequest,
    turn: Turn,
    stream_format: StreamFormat,
    headers: dict[str, str],
    *,
    user_id: UUID | None,
    resumes: bool = True,
    is_background: bool = False,
    on_delivered: Callable[[], None] | None = None,
) -> HttpResponseBase:
    """Begin a turn's reply and stream it. The stream of a repeated send continues after its `Last-Event-ID` if it `resumes`.

    If the `Last-Event-ID` belongs to another reply, the stream starts at the beginning, and a header says so. `on_delivered` is
    called when the whole stream has been sent.
    """
    last_event = read_last_event(request) if resumes else None
    if last_event is not None and last_event.is_end and turn.request is None:
        release_connections()
        return no_more_events(turn.reply_id)
    after = turn.after
    if last_event is not None:
        after, headers = (last_event.cursor, headers) if _is_of(turn, last_event) else (after, {**headers, **RESTARTED})
    if resumes and turn.is_another and stream_format.media_type == SSE.media_type:
        stream_format = marked(stream_format, mark_of(turn.reply_id))
    is_present = presence_of(request)
    with open_permit(_owner_id(turn, user_id), is_present, limited=turn.request is None) as permit:
        follower = begin_generation(turn, is_present, after=after, is_background=is_background)
        return relay(request, follower, stream_format, headers, permit, on_delivered)


def place_in(reply_id: UUID, event: LastEvent) -> tuple[Cursor, Mapping[str, str]]:
    """Return the cursor from which a client reads a reply on, and the headers of its stream.

    If the client's last event belongs to another reply, it reads from the start.
    """
    return (event.cursor, NO_HEADERS) if event.mark in ("", mark_of(reply_id)) else (START, RESTARTED)


def _is_of(turn: Turn, event: LastEvent) -> bool:
    """Whether an event was received from this turn's reply. Ids are marked only where two replies are possible."""
    if turn.former is not None:
        return not event.is_end and event.mark in ("", mark_of(turn.reply_id))
    if turn.request is not None:
        return False
    return event.mark == mark_of(turn.reply_id) if turn.is_another else not event.mark


def _owner_id(turn: Turn, user_id: UUID | None) -> UUID:
    # An anonymous caller has no user id, so the session, which is a conversation, owns the stream.
    return turn.conversation_id if user_id is None else user_id


def relay(
    request: HttpRequest,
    follower: Follower,
    stream_format: StreamFormat,
    headers: Mapping[str, str],
    permit: Permit,
    on_delivered: Callable[[], None] | None = None,
) -> FrameStreamResponse:
    """Return what a follower reads as a stream, which releases the permit at its end."""
    forget_connections()
    stream = FrameStream(follower, stream_format, request, on_close=permit.release, on_delivered=on_delivered)
    return FrameStreamResponse(stream, stream_format.media_type, headers)


def no_more_events(reply_id: UUID) -> Response:
    """Return the 204 that stops an EventSource, which otherwise reconnects after every end of a stream, also after `done`."""
    return Response(status=204, headers={"X-Message-Id": str(reply_id)})


def wait_for_reply(follower: Follower) -> dict[str, Any]:
    """Wait until a reply has ended and return its `error` event, or {} if it did not fail.

    The deadlines of the generation limit the time.
    """
    error: dict[str, Any] = {}
    try:
        while not follower.has_ended:
            for event_id, payload in follower.read(SILENCE_S):
                # Only `error` and `done` have no cursor.
                if cursor_of(event_id) is None and "error" in (event := orjson.loads(payload)):
                    error = event
    finally:
        follower.close()
        release_connections()
    return error


def wait_for_turn(turn: Turn, is_present: Presence, *, user_id: UUID | None) -> dict[str, Any]:
    """Begin a turn's reply and wait until it has ended, as `wait_for_reply` does. Counts as an open stream meanwhile."""
    with open_permit(_owner_id(turn, user_id), is_present, limited=turn.request is None) as permit:
        error = wait_for_reply(begin_generation(turn, is_present))
        permit.release()
    return error


def failure_of(turn: Turn, error: dict[str, Any]) -> UpstreamFailure:
    """Return the failure that an `error` event of a turn's reply reports."""
    kind = FAILURES.get(error["error"], UpstreamError)
    return kind(error.get("detail"), retry_after_s=error.get("retry_after"), **turn_ids(turn))


def message_location(conversation_id: UUID, message_id: UUID) -> str:
    """Return the path of a message on the primary surface, for replies of all surfaces. With `/stream`, it follows a reply."""
    return f"{conversation_location(conversation_id)}/messages/{message_id}"


def conversation_location(conversation_id: UUID) -> str:
    return f"/api/conversations/{conversation_id}"


def reply_headers(turn: Turn) -> dict[str, str]:
    headers = {"X-Message-Id": str(turn.reply_id), "X-User-Message-Id": str(turn.user_message_id)}
    return {**headers, **replay_headers(turn.request is None)}


def deliver(
    request: HttpRequest,
    turn: Turn,
    delivery: Delivery,
    *,
    user_id: UUID | None,
    read_message: Callable[[UUID], Any],
    formats: Mapping[Delivery, StreamFormat],
) -> HttpResponseBase:
    """Begin a turn's reply and deliver it. `read_message` returns a saved message in the surface's form."""
    location = message_location(turn.conversation_id, turn.reply_id)
    headers = {**reply_headers(turn), "Content-Location": location}
    if delivery in formats:
        return stream_turn(request, turn, formats[delivery], headers, user_id=user_id)
    is_present = presence_of(request)
    if delivery is Delivery.LATER:
        headers |= {"Location": f"{location}/stream", "Preference-Applied": "respond-async"}
        if turn.is_waiting:
            headers["Content-Location"] = message_location(turn.conversation_id, turn.user_message_id)
            return Response(_read_waiting(turn, read_message), status=202, headers=headers)
        begin_generation(turn, is_present, is_background=True).close()
        return Response(read_message(turn.reply_id), status=202, headers=headers)
    if error := wait_for_turn(turn, is_present, user_id=user_id):
        raise failure_of(turn, error)
    return Response(read_message(turn.reply_id), headers=headers)


def _read_waiting(turn: Turn, read_message: Callable[[UUID], dict[str, Any]]) -> dict[str, Any]:
    """Return a message that waits, or, on a surface that does not show those, the ids of its turn."""
    try:
        return read_message(turn.user_message_id)
    except MessageNotFound:
        return {**turn_ids(turn), "status": "queued"}
