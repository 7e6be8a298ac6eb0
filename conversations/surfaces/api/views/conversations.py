"""/api/conversations: list, create, read, change, delete, stop, regenerate."""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from chatapi.throttling import SendThrottle
from conversations.exceptions import ConversationNotFound, NothingToStop
from conversations.models import Conversation, Message
from conversations.services.conversations import create_conversation, delete_conversation, update_conversation
from conversations.services.turns.begin import regenerate_turn
from conversations.services.turns.stop import stop_reply
from conversations.surfaces.api import schema
from conversations.surfaces.api.reading import (
    group_by_day,
    read_conversation,
    read_conversation_page,
    read_message,
    read_messages,
    read_newest_messages,
    read_zone,
    require_conversation,
)
from conversations.surfaces.api.serializers import (
    CONVERSATION_COLUMNS,
    ConversationCreateSerializer,
    ConversationPatchSerializer,
    ConversationPutSerializer,
    SamplingSerializer,
)
from conversations.surfaces.api.views.messages import deliver_turn
from conversations.surfaces.delivery import choose_delivery
from conversations.surfaces.fields import require_id
from conversations.surfaces.headers import read_idempotency_key
from conversations.surfaces.nulls import conversation_json
from conversations.surfaces.paging import MAX_OFFSET, read_flag, read_text, read_whole_number
from conversations.surfaces.sending import admit_send, begin_turn


class ConversationViewSet(viewsets.ViewSet):
    def get_throttles(self) -> list[Any]:
        return [SendThrottle()] if self.action == "regenerate" else super().get_throttles()

    @schema.list_conversations
    def list(self, request: Request) -> Response:
        params = request.query_params
        offset = read_whole_number(params, "offset", 0, least=0, most=MAX_OFFSET)
        zone = read_zone(params)
        conversations = Conversation.objects.owned_by(request.user.id).listed()
        if (favorited := read_flag(params, "favorited")) is not None:
            conversations = conversations.filter(is_favorited=favorited)
        if wanted := read_text(params, "q", longest=200):
            conversations = conversations.filter(title__icontains=wanted)
        items, limit, following = read_conversation_page(conversations, params, offset)
        grouped = group_by_day(items, zone)
        return Response({"items": items, "grouped": grouped, "limit": limit, "offset": offset, "next": following})

    @schema.create_conversation
    def create(self, request: Request) -> Response:
        body = ConversationCreateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        conversation = create_conversation(user_id=request.user.id, **body.validated_data)
        # A new conversation has no message, and so no running reply.
        row = {column: getattr(conversation, column, None) for column in CONVERSATION_COLUMNS}
        return Response(conversation_json(row), status=201, headers={"Location": f"/api/conversations/{conversation.id}"})

    @schema.read_conversation
    def retrieve(self, request: Request, conversation_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        conversation = read_conversation(found_id, request.user.id)
        if "limit" in request.query_params or "cursor" in request.query_params:
            messages = Message.objects.in_conversation(found_id).active_branch()
            page, _, following = read_messages(messages, request.query_params)
        else:
            page, following = read_newest_messages(found_id)
        return Response({**conversation, "messages": page, "next": following})

    @schema.replace_conversation
    def update(self, request: Request, conversation_id: str) -> Response:
        return self._change(request, conversation_id, ConversationPutSerializer(data=request.data))

    @schema.change_conversation
    def partial_update(self, request: Request, conversation_id: str) -> Response:
        return self._change(request, conversation_id, ConversationPatchSerializer(data=request.data))

    def _change(self, request: Request, conversation_id: str, body: ConversationPatchSerializer) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        body.is_valid(raise_exception=True)
        update_conversation(conversation_id=found_id, user_id=request.user.id, changes=body.validated_data)
        return Response(read_conversation(found_id, request.user.id))

    @schema.delete_conversation
    def destroy(self, request: Request, conversation_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        delete_conversation(conversation_id=found_id, user_id=request.user.id)
        return Response(status=204)

    @schema.stop_reply
    def stop(self, request: Request, conversation_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        require_conversation(found_id, request.user.id)
        reply_id = stop_reply(found_id)
        if reply_id is None:
            raise NothingToStop
        return Response(read_message(found_id, reply_id))

    @schema.regenerate
    def regenerate(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_id(conversation_id, ConversationNotFound)
        body = SamplingSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key = read_idempotency_key(request)
        how = choose_delivery(request, body.validated_data.get("stream"))
        admit_send(request.user.id, how)
        turn = begin_turn(
            request._request,
            how,
            body.validated_data.get("when_busy"),
            regenerate_turn,
            conversation_id=found_id,
            user_id=request.user.id,
            sampling=body.sampling(),
            idempotency_key=key,
        )
        return deliver_turn(request, turn, how)
