"""/api/v1/chat: conversations that the caller names."""

import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http.response import HttpResponseBase
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from chatapi.incoming.client_address import address_group
from conversations.exceptions import AuthenticationRequired
from conversations.services.sending.begin import send_turn
from conversations.services.sending.turn import Turn
from conversations.services.sessions import claim_session, find_session, forget_history, open_session, require_caller
from conversations.surfaces.callers import caller_id, optional_caller_id
from conversations.surfaces.headers import next_link, read_idempotency_key
from conversations.surfaces.reply_delivery import TEXT_STREAM_FORMATS, Delivery, choose_delivery, reply_headers, stream_turn
from conversations.surfaces.sending import begin_turn, refuse_too_many_streams
from conversations.surfaces.sessions import operations
from conversations.surfaces.sessions.anonymous_replies import permit_for_reply
from conversations.surfaces.sessions.authentication import WAS_REFUSED, OptionalBearerAuthentication
from conversations.surfaces.sessions.queries import read_history
from conversations.surfaces.sessions.requests import SendBody, SendParser
from conversations.surfaces.sessions.responses import ClaimedSchema, ForgottenSchema, HistorySchema, MessageSchema
from conversations.surfaces.throttles import SendThrottle
from inference_proxy.protocols.base import Sampling


class SessionSurfaceView(APIView):
    authentication_classes = [OptionalBearerAuthentication]
    permission_classes = [AllowAny]

    @classmethod
    def needs_token(cls) -> bool:
        return not settings.ALLOW_ANONYMOUS

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell a client whose token is invalid that it was answered as an anonymous caller."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if request._request.META.get(WAS_REFUSED) and "WWW-Authenticate" not in response:
            response["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return response


class StreamView(SessionSurfaceView):
    parser = SendParser()
    throttle_classes = [SendThrottle]

    @operations.send_message
    def post(self, request: Request) -> HttpResponseBase:
        user_id = optional_caller_id(request)
        # Before the body is parsed: a body takes many times its size in memory.
        with _asking_for_a_token():
            require_caller(user_id)
        body = read_body(SendBody, request)
        key = read_idempotency_key(request)
        delivery = choose_delivery(request, default=Delivery.NDJSON)
        delivery = delivery if delivery is Delivery.SSE else Delivery.NDJSON
        refuse_too_many_streams(user_id, delivery)
        if user_id is not None:
            return _send(request, user_id, body, key, delivery)[1]
        with permit_for_reply(address_group(request._request)) as name_reply:
            turn, response = _send(request, None, body, key, delivery)
            name_reply(turn.reply_id)
            return response


@contextlib.contextmanager
def _asking_for_a_token() -> Iterator[None]:
    """Have DRF answer `AuthenticationRequired`: it adds `WWW-Authenticate` to its own exception, as to every 401."""
    try:
        yield
    except AuthenticationRequired as refusal:
        raise NotAuthenticated(refusal.text) from None


def _send(
    request: Request, user_id: UUID | None, body: SendBody, key: str, delivery: Delivery
) -> tuple[Turn, HttpResponseBase]:
    with _asking_for_a_token():
        session = open_session(session_id=body.session_id, user_id=user_id, assistant_id=body.assistant_id)
    turn = begin_turn(
        request,
        send_turn,
        delivery=delivery,
        conversation_id=session.conversation,
        change=session.change,
        user_id=user_id,
        idempotency_key=key,
        content=body.message,
        sampling=Sampling(),
    )
    return turn, stream_turn(request._request, turn, TEXT_STREAM_FORMATS[delivery], reply_headers(turn), user_id=user_id)


class HistoryView(SessionSurfaceView):
    @operations.read_history
    def get(self, request: Request, session_id: str) -> Response:
        conversation_id = find_session(session_id=session_id, user_id=optional_caller_id(request))
        page = read_history(conversation_id, request.query_params)
        messages = MessageSchema.from_rows(page.rows[::-1])
        return Response(HistorySchema(messages), headers=next_link(request.path, request.query_params, page.next))


class SessionView(SessionSurfaceView):
    @operations.forget_history
    def delete(self, request: Request, session_id: str) -> Response:
        forget_history(session_id=session_id, user_id=optional_caller_id(request))
        return Response(ForgottenSchema("Conversation history reset successfully"))


class ClaimView(APIView):
    """The only path of this surface that needs a token."""

    @operations.claim_session
    def post(self, request: Request, session_id: str) -> Response:
        claimed = claim_session(session_id=session_id, user_id=caller_id(request))
        return Response(ClaimedSchema(claimed.name, claimed.conversation_id))
