"""/api/v1/chat: conversations that the caller names."""

from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chatapi.client_address import address_group
from chatapi.throttling import SendThrottle
from conversations.exceptions import AuthenticationRequired
from conversations.models import Message, Role
from conversations.services.sessions import find_session, forget_history, open_session
from conversations.services.turns.anonymous_replies import place_for_reply
from conversations.services.turns.begin import Turn, start_turn
from conversations.surfaces.delivery import (
    STREAM_FORMATS,
    Delivery,
    choose_delivery,
    reply_headers,
    stream_turn,
)
from conversations.surfaces.headers import next_link, read_idempotency_key
from conversations.surfaces.paging import read_message_page
from conversations.surfaces.sending import admit_send, begin_turn
from conversations.surfaces.sessions import schema
from conversations.surfaces.sessions.authentication import OptionalBearerAuthentication
from conversations.surfaces.sessions.serializers import MESSAGE_COLUMNS, SendSerializer, message_json
from inference_proxy.protocols.base import Sampling

MOST_MESSAGES = 1000


class SessionSurfaceView(APIView):
    authentication_classes = [OptionalBearerAuthentication]
    permission_classes = [AllowAny]


class StreamView(SessionSurfaceView):
    throttle_classes = [SendThrottle]

    @schema.send_message
    def post(self, request: Request) -> HttpResponseBase:
        body = SendSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        sent: dict[str, Any] = body.validated_data
        user_id, key = _user_id(request), read_idempotency_key(request._request)
        how = choose_delivery(request._request, default=Delivery.NDJSON)
        how = how if how is Delivery.SSE else Delivery.NDJSON
        admit_send(user_id, how)
        if user_id is not None:
            return _send(request, user_id, sent, key, how)[1]
        with place_for_reply(address_group(request._request)) as name_reply:
            turn, response = _send(request, None, sent, key, how)
            name_reply(turn.reply_id)
            return response


def _send(
    request: Request, user_id: UUID | None, sent: dict[str, Any], key: str, how: Delivery
) -> tuple[Turn, HttpResponseBase]:
    try:
        conversation_id = open_session(session_id=sent["session_id"], user_id=user_id, assistant_id=sent.get("assistant_id"))
    except AuthenticationRequired as refusal:
        # So that the answer names the scheme, as every 401 does.
        raise NotAuthenticated(refusal.text) from None
    turn = begin_turn(
        request._request,
        how,
        None,
        start_turn,
        conversation_id=conversation_id,
        user_id=user_id,
        content=sent["message"],
        sampling=Sampling(),
        idempotency_key=key,
    )
    return turn, stream_turn(request._request, turn, STREAM_FORMATS[how], reply_headers(turn), user_id=user_id)


class HistoryView(SessionSurfaceView):
    @schema.read_history
    def get(self, request: Request, session_id: str) -> Response:
        params = request.query_params
        conversation_id = find_session(session_id=session_id, user_id=_user_id(request))
        page = read_message_page(
            Message.objects.in_conversation(conversation_id).active_branch().exclude(role=Role.SYSTEM),
            MESSAGE_COLUMNS,
            params,
            kind="sm",
            default=MOST_MESSAGES,
            most=MOST_MESSAGES,
        )
        messages = [message_json(row) for row in reversed(page.rows)]
        return Response({"messages": messages}, headers=next_link(request.path, params, page.next))


class SessionView(SessionSurfaceView):
    @schema.forget_history
    def delete(self, request: Request, session_id: str) -> Response:
        forget_history(session_id=session_id, user_id=_user_id(request))
        return Response({"message": "Conversation history reset successfully"})


def _user_id(request: Request) -> UUID | None:
    return request.user.id if request.user else None
