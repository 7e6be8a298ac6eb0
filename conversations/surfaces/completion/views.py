"""/conversation: create one, complete one, read them all."""

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.rows import known_time
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.known_times import with_conversation_times
from conversations.services.conversations import create_conversation
from conversations.services.sending.begin import send_turn
from conversations.surfaces.callers import caller_id
from conversations.surfaces.completion import operations
from conversations.surfaces.completion.queries import read_conversation_page, read_message, read_messages
from conversations.surfaces.completion.requests import CompletionBody
from conversations.surfaces.completion.responses import ConversationSchema
from conversations.surfaces.headers import next_link, read_idempotency_key, replay_headers
from conversations.surfaces.ids import require_conversation_id
from conversations.surfaces.replica import from_replica
from conversations.surfaces.reply_delivery import TEXT_STREAM_FORMATS, Delivery
from conversations.surfaces.sending import respond_with_reply
from conversations.surfaces.throttles import SendThrottle
from inference_proxy.protocols.base import Sampling


class ConversationView(APIView):
    @operations.list_conversations
    @from_replica
    def get(self, request: Request) -> Response:
        params = request.query_params
        page = read_conversation_page(caller_id(request), params)
        messages, page = read_messages(page)
        conversations = [
            ConversationSchema(row["id"], messages[row["id"]], known_time(row["created_at"], row["updated_at"]))
            for row in with_conversation_times(page.rows)
        ]
        return Response(conversations, headers=next_link(request.path, params, page.next))

    @operations.create_conversation
    def post(self, request: Request) -> Response:
        row, is_replay = create_conversation(
            ("id", "created_at"), user_id=caller_id(request), idempotency_key=read_idempotency_key(request)
        )
        made = ConversationSchema(row["id"], [], row["created_at"])
        return Response(made, status=201, headers=replay_headers(is_replay))


class CompletionView(APIView):
    throttle_classes = [SendThrottle]

    @operations.complete
    def post(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_conversation_id(conversation_id)
        body = read_body(CompletionBody, request)
        return respond_with_reply(
            request,
            send_turn,
            delivery=Delivery.TEXT if body.stream else Delivery.JSON,
            read_message=read_message,
            formats=TEXT_STREAM_FORMATS,
            conversation_id=found_id,
            content=body.message,
            sampling=Sampling(),
        )
