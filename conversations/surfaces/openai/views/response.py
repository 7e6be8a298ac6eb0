"""/v1/responses: create, retrieve, follow, cancel, delete, list input items."""

from functools import partial
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from chatapi.api.views import ViewSet
from chatapi.api.wire import Response
from conversations.services.replies.stop import stop_one_reply
from conversations.services.sending.turn import Turn
from conversations.surfaces.callers import caller_id
from conversations.surfaces.headers import read_idempotency_key
from conversations.surfaces.openai import operations
from conversations.surfaces.openai.asking import RepeatedRequests, begin_response, new_messages, question_of, read_question
from conversations.surfaces.openai.deleting import delete_reply
from conversations.surfaces.openai.errors import StillRunning
from conversations.surfaces.openai.identifiers import read_response_id, response_form
from conversations.surfaces.openai.long_histories import HistoryParser
from conversations.surfaces.openai.queries import read_input_items, read_response_row
from conversations.surfaces.openai.repeats import note_delivered, note_stream_delivered
from conversations.surfaces.openai.requests import ResponseCreateBody, check_brought
from conversations.surfaces.openai.responses import response_body
from conversations.surfaces.openai.streams.event_stream import event_stream
from conversations.surfaces.openai.streams.sequence import MAX_NUMBER
from conversations.surfaces.query_parameters import read_flag, read_whole_number
from conversations.surfaces.reply_delivery import (
    Delivery,
    begin_generation,
    presence_of,
    stream_reply,
    stream_turn,
    wait_for_turn,
)
from conversations.surfaces.request_weights import sends_for
from conversations.surfaces.throttles import SendThrottle


class ResponseViewSet(ViewSet, RepeatedRequests):
    body, surface = ResponseCreateBody, "response"
    parser = HistoryParser(ResponseCreateBody, "input")

    def get_throttles(self) -> list[Any]:
        return [SendThrottle()] if self.action == "create" else super().get_throttles()

    @operations.create_response
    def create(self, request: Request) -> HttpResponseBase:
        body, fingerprint = read_question(ResponseCreateBody, request, self.surface)
        user_id, key = caller_id(request), read_idempotency_key(request)
        is_background = bool(body.background)
        question = question_of(body, fingerprint, user_id)
        brought = new_messages(question)
        check_brought([said.content for said in brought if said.role != "tool"])
        SendThrottle().count_further(request, sends_for(len(brought), sum(said.size for said in brought), messages_per_send=1))
        delivery = Delivery.LATER if is_background else Delivery.SSE
        turn = begin_response(request._request, question, key=key, delivery=delivery)
        if body.stream:
            return self._stream(request, turn, user_id, is_background=is_background)
        if is_background:
            begin_generation(turn, presence_of(request._request), is_background=True).close()
            note_delivered(turn)
            return self._respond(turn.reply_id, user_id)
        is_present = presence_of(request._request)
        wait_for_turn(turn, is_present, user_id=user_id)
        shown = response_body(read_response_row(turn.reply_id, user_id))
        if shown["status"] == "in_progress":
            raise StillRunning
        if is_present():
            note_delivered(turn)
        return Response(shown)

    def _stream(self, request: Request, turn: Turn, user_id: UUID, *, is_background: bool) -> HttpResponseBase:
        events, _ = event_stream(turn.reply_id, user_id)
        return stream_turn(
            request._request,
            turn,
            events,
            {},
            user_id=user_id,
            is_background=is_background,
            resumes=False,
            on_delivered=partial(note_stream_delivered, turn),
        )

    @operations.read_response
    def retrieve(self, request: Request, response_id: str) -> HttpResponseBase:
        reply_id, user_id, params = read_response_id(response_id), caller_id(request), request.query_params
        after = read_whole_number(params, "starting_after", -1, least=0, most=MAX_NUMBER)
        if not read_flag(params, "stream"):
            return self._respond(reply_id, user_id)
        events, cursor = event_stream(reply_id, user_id, after)
        return stream_reply(request._request, reply_id, events, after=cursor, owner_id=user_id)

    @operations.cancel_response
    def cancel(self, request: Request, response_id: str) -> Response:
        reply_id, user_id = read_response_id(response_id), caller_id(request)
        read_response_row(reply_id, user_id)
        stop_one_reply(reply_id)
        return self._respond(reply_id, user_id)

    @operations.delete_response
    def destroy(self, request: Request, response_id: str) -> Response:
        reply_id = read_response_id(response_id)
        delete_reply(reply_id=reply_id, user_id=caller_id(request))
        return Response({"id": response_form(reply_id), "object": "response", "deleted": True})

    @operations.list_input_items
    def input_items(self, request: Request, response_id: str) -> Response:
        return Response(read_input_items(read_response_id(response_id), caller_id(request), request.query_params))

    def _respond(self, reply_id: UUID, user_id: UUID) -> Response:
        return Response(response_body(read_response_row(reply_id, user_id)))
