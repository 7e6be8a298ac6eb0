"""/api/conversations/{id}/messages: list, send, read, follow."""

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from chatapi.throttling import SendThrottle
from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.models import Message, Role
from conversations.services.turns.begin import Turn, edit_turn, start_turn
from conversations.services.turns.versions import activate_message
from conversations.surfaces.api import schema
from conversations.surfaces.api.reading import read_message, read_messages, require_conversation
from conversations.surfaces.api.serializers import SendSerializer
from conversations.surfaces.delivery import (
    Delivery,
    choose_delivery,
    deliver,
    no_more_events,
    stream_reply,
)
from conversations.surfaces.fields import require_id
from conversations.surfaces.headers import MAX_REPLY_OFFSET, read_idempotency_key, read_last_event
from conversations.surfaces.paging import read_whole_number
from conversations.surfaces.sending import admit_send, begin_turn
from inference_proxy.responses import NDJSON, SSE


class MessageViewSet(viewsets.ViewSet):
    def get_throttles(self) -> list[Any]:
        return [SendThrottle()] if self.action in ("create", "update") else super().get_throttles()

    @schema.list_messages
    def list(self, request: Request, conversation_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        require_conversation(found_id, request.user.id)
        messages = Message.objects.in_conversation(found_id)
        if _read_versions(request) == "active":
            messages = messages.active_branch()
        items, limit, following = read_messages(messages, request.query_params)
        return Response({"items": items, "limit": limit, "next": following})

    @schema.send_message
    def create(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_id(conversation_id, ConversationNotFound)
        body = SendSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key = read_idempotency_key(request)
        how = choose_delivery(request, body.validated_data.get("stream"))
        admit_send(request.user.id, how)
        turn = begin_turn(
            request._request,
            how,
            body.validated_data.get("when_busy"),
            start_turn,
            conversation_id=found_id,
            user_id=request.user.id,
            content=body.validated_data["content"],
            sampling=body.sampling(),
            idempotency_key=key,
        )
        return deliver_turn(request, turn, how)

    @schema.read_message
    def retrieve(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        require_conversation(found_id, request.user.id)
        return Response(read_message(found_id, require_id(message_id, MessageNotFound)))

    @schema.edit_message
    def update(self, request: Request, conversation_id: str, message_id: str) -> HttpResponseBase:
        found_id = require_id(conversation_id, ConversationNotFound)
        edited_id = require_id(message_id, MessageNotFound)
        body = SendSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key = read_idempotency_key(request)
        how = choose_delivery(request, body.validated_data.get("stream"))
        admit_send(request.user.id, how)
        turn = begin_turn(
            request._request,
            how,
            body.validated_data.get("when_busy"),
            edit_turn,
            conversation_id=found_id,
            user_id=request.user.id,
            message_id=edited_id,
            content=body.validated_data["content"],
            sampling=body.sampling(),
            idempotency_key=key,
        )
        return deliver_turn(request, turn, how)

    @schema.activate_message
    def activate(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        chosen_id = require_id(message_id, MessageNotFound)
        activate_message(conversation_id=found_id, user_id=request.user.id, message_id=chosen_id)
        return Response(read_message(found_id, chosen_id))

    @schema.follow_reply
    def stream(self, request: Request, conversation_id: str, message_id: str) -> HttpResponseBase:
        found_id = require_id(conversation_id, ConversationNotFound)
        reply_id = require_id(message_id, MessageNotFound)
        last_event = read_last_event(request)
        after = read_whole_number(request.query_params, "after", 0, least=0, most=MAX_REPLY_OFFSET)
        require_conversation(found_id, request.user.id)
        if not Message.objects.in_conversation(found_id).filter(id=reply_id, role=Role.ASSISTANT).exists():
            raise MessageNotFound
        if last_event is not None:
            # A reconnecting browser repeats the address and adds the header, so the header is newer.
            if last_event.is_end:
                return no_more_events(reply_id)
            after = last_event.offset
        stream_format = NDJSON if choose_delivery(request) is Delivery.NDJSON else SSE
        return stream_reply(request._request, reply_id, stream_format, after=after, owner_id=request.user.id)


def deliver_turn(request: Request, turn: Turn, how: Delivery) -> HttpResponseBase:
    """Begin a turn's reply and answer in this surface's form."""
    return deliver(
        request._request,
        turn,
        how,
        user_id=request.user.id,
        read_message=lambda reply_id: read_message(turn.conversation_id, reply_id),
    )


def _read_versions(request: Request) -> str:
    versions = request.query_params.get("versions", "active")
    if versions not in ("active", "all"):
        raise ValidationError({"versions": ["Must be all or active."]})
    return versions
