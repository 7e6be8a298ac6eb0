"""/health and /conversations…, exactly as the platform's published contract describes them."""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import ViewSet
from chatapi.api.wire import Response
from conversations.known_times import with_conversation_times, with_message_times
from conversations.readiness import check_readiness
from conversations.services.conversations import create_conversation, require_conversation, update_conversation
from conversations.services.sending.begin import send_turn
from conversations.surfaces.callers import caller_id
from conversations.surfaces.contract import operations
from conversations.surfaces.contract.queries import read_conversation, read_conversation_page, read_message, read_messages
from conversations.surfaces.contract.requests import (
    ConversationCreateBody,
    ConversationPatchBody,
    SendBody,
)
from conversations.surfaces.contract.responses import ConversationSchema, HealthSchema, MessageSchema
from conversations.surfaces.headers import next_link, read_idempotency_key, replay_headers
from conversations.surfaces.ids import require_conversation_id
from conversations.surfaces.probes import ProbeView
from conversations.surfaces.replica import from_replica
from conversations.surfaces.reply_delivery import TEXT_STREAM_FORMATS, Delivery
from conversations.surfaces.sending import respond_with_reply
from conversations.surfaces.throttles import SendThrottle
from inference_proxy.protocols.base import Sampling


class HealthView(ProbeView):
    @operations.health
    def get(self, request: Request) -> Response:
        ready = all(result == "ok" for result in check_readiness().values())
        return Response(HealthSchema("ok" if ready else "unavailable", ready), status=200 if ready else 503)


class ConversationViewSet(ViewSet):
    @operations.list_conversations
    @from_replica
    def list(self, request: Request) -> Response:
        params = request.query_params
        page = read_conversation_page(caller_id(request), params)
        items = ConversationSchema.from_rows(with_conversation_times(page.rows))
        return Response(items, headers=next_link(request.path, params, page.next))

    @operations.create_conversation
    def create(self, request: Request) -> Response:
        body = read_body(ConversationCreateBody, request)
        row, is_replay = create_conversation(
            ConversationSchema.columns,
            user_id=caller_id(request),
            idempotency_key=read_idempotency_key(request),
            title=body.title,
            model_tag=body.model_tag,
        )
        headers = {"Location": f"/conversations/{row['id']}", **replay_headers(is_replay)}
        return Response(ConversationSchema.from_row(row), status=201, headers=headers)

    @operations.read_conversation
    def retrieve(self, request: Request, conversation_id: str) -> Response:
        return Response(read_conversation(require_conversation_id(conversation_id), caller_id(request)))

    @operations.change_conversation
    def partial_update(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id = require_conversation_id(conversation_id), caller_id(request)
        body = read_body(ConversationPatchBody, request)
        row = update_conversation(ConversationSchema.columns, conversation_id=found_id, user_id=user_id, changes=body.chosen())
        return Response(ConversationSchema.from_row(with_conversation_times([row])[0]))


class MessageViewSet(ViewSet):
    def get_throttles(self) -> list[Any]:
        return [SendThrottle()] if self.action == "create" else super().get_throttles()

    @operations.list_messages
    def list(self, request: Request, conversation_id: str) -> Response:
        found_id = require_conversation_id(conversation_id)
        require_conversation(conversation_id=found_id, user_id=caller_id(request))
        page = read_messages(found_id, request.query_params)
        links = next_link(request.path, request.query_params, page.next)
        return Response(MessageSchema.from_rows(with_message_times(page.rows)), headers=links)

    @operations.send_message
    def create(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_conversation_id(conversation_id)
        body = read_body(SendBody, request)
        return respond_with_reply(
            request,
            send_turn,
            # The contract has one form for each value of `stream`, whatever `Accept` and `Prefer` say.
            delivery=Delivery.SSE if body.stream else Delivery.JSON,
            read_message=read_message,
            formats=TEXT_STREAM_FORMATS,
            conversation_id=found_id,
            content=body.message.content,
            sampling=Sampling(),
        )
