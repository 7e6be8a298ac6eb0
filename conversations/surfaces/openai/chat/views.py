"""POST /v1/chat/completions"""

from functools import partial
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from chatapi.api.wire import Response
from conversations.models import Status
from conversations.surfaces.callers import caller_id
from conversations.surfaces.headers import read_idempotency_key
from conversations.surfaces.openai.asking import RepeatedRequests, begin_response, new_messages, read_question
from conversations.surfaces.openai.chat import operations
from conversations.surfaces.openai.chat.asking import limit_header, question_of
from conversations.surfaces.openai.chat.chunks import chunk_stream
from conversations.surfaces.openai.chat.requests import CompletionCreateBody
from conversations.surfaces.openai.chat.responses import completion_body, conversation_header
from conversations.surfaces.openai.errors import Interrupted, StillRunning
from conversations.surfaces.openai.long_histories import HistoryParser
from conversations.surfaces.openai.queries import read_response_row
from conversations.surfaces.openai.repeats import note_delivered, note_stream_delivered
from conversations.surfaces.reply_delivery import (
    Delivery,
    failure_of,
    presence_of,
    reply_headers,
    stream_turn,
    turn_ids,
    wait_for_turn,
)
from conversations.surfaces.request_weights import sends_for
from conversations.surfaces.throttles import SendThrottle


class CompletionView(RepeatedRequests):
    body, surface = CompletionCreateBody, "completion"
    parser = HistoryParser(CompletionCreateBody, "messages")

    def get_throttles(self) -> list[Any]:
        return [SendThrottle()]

    @operations.create_completion
    def post(self, request: Request) -> HttpResponseBase:
        body, fingerprint = read_question(CompletionCreateBody, request, self.surface)
        user_id, key = caller_id(request), read_idempotency_key(request)
        question = question_of(body, fingerprint, request._request, user_id)
        # Clients send the whole history each time, and some cut off its beginning. So a history that is not stored here counts
        # for less than one of a response.
        brought = new_messages(question)
        # The row of the reply keeps its system prompts.
        size = sum(said.size for said in brought) + len(question.terms.instructions)
        SendThrottle().count_further(request, sends_for(len(brought), size))
        turn = begin_response(request._request, question, key=key, delivery=Delivery.SSE if body.stream else Delivery.JSON)
        headers = {**reply_headers(turn), **conversation_header(turn.conversation_id), **limit_header(question)}
        read_row = partial(read_response_row, turn.reply_id, user_id)
        if body.stream:
            with_usage = (body.stream_options or {}).get("include_usage")
            chunks = chunk_stream(read_row(), read_row if with_usage else None)
            noted = partial(note_stream_delivered, turn)
            return stream_turn(request._request, turn, chunks, headers, user_id=user_id, resumes=False, on_delivered=noted)
        is_present = presence_of(request._request)
        if error := wait_for_turn(turn, is_present, user_id=user_id):
            raise failure_of(turn, error)
        row = read_row()
        if row["status"] == Status.STREAMING:
            raise StillRunning
        if row["status"] in (Status.INTERRUPTED, Status.FAILED):
            raise Interrupted(**turn_ids(turn))
        if is_present():
            note_delivered(turn)
        return Response(completion_body(row), headers=headers)
