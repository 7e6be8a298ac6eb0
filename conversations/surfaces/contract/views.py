"""/health and /conversations…, exact to the platform's published contract."""

from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework import viewsets
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chatapi.readiness import check_readiness
from chatapi.throttling import ProbeThrottle, SendThrottle
from conversations.exceptions import ConversationNotFound
from conversations.models import Conversation, Message
from conversations.prepared_reads import PreparedRead, Rows
from conversations.services.conversations import create_conversation, update_conversation
from conversations.services.turns.begin import start_turn
from conversations.surfaces.contract import schema
from conversations.surfaces.contract.serializers import (
    CONVERSATION_COLUMNS,
    MESSAGE_COLUMNS,
    ConversationCreateSerializer,
    ConversationPatchSerializer,
    SendSerializer,
)
from conversations.surfaces.delivery import Delivery, deliver
from conversations.surfaces.fields import require_id
from conversations.surfaces.headers import next_link, read_idempotency_key
from conversations.surfaces.nulls import conversation_json, message_json
from conversations.surfaces.paging import read_message_page, read_page
from conversations.surfaces.sending import admit_send, begin_turn
from inference_proxy.protocols.base import Sampling

DEFAULT_LIMIT = 50
# The contract's clients read a conversation with one request: only very long ones come in pages.
MOST_MESSAGES = 1000


class HealthView(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes = [ProbeThrottle]

    @schema.health
    def get(self, request: Request) -> Response:
        ready = all(result == "ok" for result in check_readiness().values())
        return Response({"status": "ok" if ready else "unavailable", "ready": ready}, status=200 if ready else 503)


class ConversationViewSet(viewsets.ViewSet):
    @schema.list_conversations
    def list(self, request: Request) -> Response:
        params = request.query_params
        conversations = Conversation.objects.owned_by(request.user.id).listed().newest_activity_first()
        page = read_page(conversations, CONVERSATION_COLUMNS, params, kind="kc", time_field="updated_at", default=DEFAULT_LIMIT)
        return Response([conversation_json(row) for row in page.rows], headers=next_link(request.path, params, page.next))

    @schema.create_conversation
    def create(self, request: Request) -> Response:
        body = ConversationCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        conversation = create_conversation(user_id=request.user.id, **body.validated_data)
        row = {column: getattr(conversation, column) for column in CONVERSATION_COLUMNS}
        return Response(conversation_json(row), status=201, headers={"Location": f"/conversations/{conversation.id}"})

    @schema.read_conversation
    def retrieve(self, request: Request, conversation_id: str) -> Response:
        return Response(_read_conversation(require_id(conversation_id, ConversationNotFound), request.user.id))

    @schema.change_conversation
    def partial_update(self, request: Request, conversation_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        body = ConversationPatchSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        update_conversation(conversation_id=found_id, user_id=request.user.id, changes=body.validated_data)
        return Response(_read_conversation(found_id, request.user.id))


class MessageViewSet(viewsets.ViewSet):
    def get_throttles(self) -> list[Any]:
        return [SendThrottle()] if self.action == "create" else super().get_throttles()

    @schema.list_messages
    def list(self, request: Request, conversation_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        if not Conversation.objects.visible_to(request.user.id).filter(id=found_id).exists():
            raise ConversationNotFound
        page = read_message_page(
            Message.objects.in_conversation(found_id).active_branch(),
            MESSAGE_COLUMNS,
            request.query_params,
            kind="km",
            descending=False,
            default=MOST_MESSAGES,
            most=MOST_MESSAGES,
        )
        links = next_link(request.path, request.query_params, page.next)
        return Response([message_json(row) for row in page.rows], headers=links)

    @schema.send_message
    def create(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_id(conversation_id, ConversationNotFound)
        body = SendSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key = read_idempotency_key(request._request)
        # The contract names one way for each: what a client accepts or prefers besides changes nothing.
        how = Delivery.SSE if body.validated_data["stream"] else Delivery.JSON
        admit_send(request.user.id, how)
        turn = begin_turn(
            request._request,
            how,
            None,
            start_turn,
            conversation_id=found_id,
            user_id=request.user.id,
            content=body.validated_data["message"]["content"],
            sampling=Sampling(),
            idempotency_key=key,
        )
        return deliver(request._request, turn, how, user_id=request.user.id, read_message=_read_message)


def _read_conversation(conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    rows = _conversation(conversation_id=conversation_id, user_id=user_id)
    if not rows:
        raise ConversationNotFound
    return conversation_json(rows[0])


@PreparedRead
def _conversation(conversation_id: UUID, user_id: UUID) -> Rows:
    return Conversation.objects.visible_to(user_id).filter(id=conversation_id).values(*CONVERSATION_COLUMNS)


def _read_message(message_id: UUID) -> dict[str, Any]:
    row = Message.objects.filter(id=message_id).values(*MESSAGE_COLUMNS).first()
    if row is None:
        # Deleted with its conversation while the reply was awaited.
        raise ConversationNotFound
    return message_json(row)
