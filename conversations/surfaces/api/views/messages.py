"""/api/conversations/{id}/messages: list, send, read, edit, remove, regenerate, continue, activate, follow, ticket."""

from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import ViewSet
from chatapi.api.wire import Response
from conversations.exceptions import MessageNotFound
from conversations.models import Message, Role
from conversations.services.conversations import require_conversation
from conversations.services.replies.versions import activate_message
from conversations.services.replies.waiting import is_waiting
from conversations.services.sending.begin import continue_turn, edit_turn, regenerate_turn, send_turn
from conversations.services.sending.queue import change_queued, refuse_queued, remove_queued
from conversations.surfaces.api.operations import messages as operations
from conversations.surfaces.api.queries import read_message, read_messages
from conversations.surfaces.api.requests import EditBody, SamplingBody, SendBody
from conversations.surfaces.api.responses.messages import MessageListSchema, TicketSchema
from conversations.surfaces.api.tickets import LIFETIME_S, issue_ticket
from conversations.surfaces.api.views.replies import chosen_in, respond_as_asked
from conversations.surfaces.callers import caller_id
from conversations.surfaces.conditional import require_match, tag_of, tagged
from conversations.surfaces.headers import LastEvent, read_last_event
from conversations.surfaces.ids import require_conversation_id, require_message_id
from conversations.surfaces.reply_delivery import Delivery, choose_delivery, no_more_events, place_in, stream_reply
from conversations.surfaces.throttles import SendThrottle
from inference_proxy.replies.streams import NDJSON, SSE


class MessageViewSet(ViewSet):
    def get_throttles(self) -> list[Any]:
        begins_reply = self.action in ("create", "update", "regenerate", "go_on")
        return [SendThrottle()] if begins_reply else super().get_throttles()

    @operations.list_messages
    @tagged
    def list(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id, versions = require_conversation_id(conversation_id), caller_id(request), _read_versions(request)
        items, limit, next_cursor = read_messages(found_id, user_id, request.query_params, versions=versions)
        return Response(MessageListSchema(items, limit, next_cursor))

    @operations.send_message
    def create(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_conversation_id(conversation_id)
        body = read_body(SendBody, request)
        return respond_as_asked(request, send_turn, body, conversation_id=found_id, content=body.content)

    @operations.read_message
    @tagged
    def retrieve(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id = require_conversation_id(conversation_id)
        require_conversation(conversation_id=found_id, user_id=caller_id(request))
        return Response(read_message(found_id, require_message_id(message_id)))

    @operations.edit_message
    def update(self, request: Request, conversation_id: str, message_id: str) -> HttpResponseBase:
        found_id, edited_id = require_conversation_id(conversation_id), require_message_id(message_id)
        body = read_body(EditBody, request)
        # A message that waits has no reply to begin.
        if change_queued(
            conversation_id=found_id,
            user_id=caller_id(request),
            message_id=edited_id,
            content=body.content,
            changes=chosen_in(body),
        ):
            return Response(read_message(found_id, edited_id))
        return respond_as_asked(
            request,
            edit_turn,
            body,
            conversation_id=found_id,
            message_id=edited_id,
            content=body.content,
            check=lambda: require_match(request, lambda: tag_of(read_message(found_id, edited_id))),
        )

    @operations.remove_queued_message
    def destroy(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id, removed_id = require_conversation_id(conversation_id), require_message_id(message_id)
        remove_queued(conversation_id=found_id, user_id=caller_id(request), message_id=removed_id)
        return Response(status=204)

    @operations.regenerate_message
    def regenerate(self, request: Request, conversation_id: str, message_id: str) -> HttpResponseBase:
        found_id, chosen_id = require_conversation_id(conversation_id), require_message_id(message_id)
        refuse_queued(conversation_id=found_id, user_id=caller_id(request), message_id=chosen_id)
        body = read_body(SamplingBody, request)
        return respond_as_asked(request, regenerate_turn, body, conversation_id=found_id, message_id=chosen_id)

    @operations.continue_reply
    def go_on(self, request: Request, conversation_id: str, message_id: str) -> HttpResponseBase:
        found_id, reply_id = require_conversation_id(conversation_id), require_message_id(message_id)
        refuse_queued(conversation_id=found_id, user_id=caller_id(request), message_id=reply_id)
        body = read_body(SamplingBody, request)
        return respond_as_asked(request, continue_turn, body, conversation_id=found_id, reply_id=reply_id)

    @operations.activate_message
    def activate(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id, chosen_id = require_conversation_id(conversation_id), require_message_id(message_id)
        refuse_queued(conversation_id=found_id, user_id=caller_id(request), message_id=chosen_id)
        activate_message(conversation_id=found_id, user_id=caller_id(request), message_id=chosen_id)
        return Response(read_message(found_id, chosen_id))

    @operations.follow_reply
    def stream(self, request: Request, conversation_id: str, message_id: str) -> HttpResponseBase:
        found_id, reply_id = require_conversation_id(conversation_id), require_message_id(message_id)
        last = read_last_event(request._request) or LastEvent()
        waits = _require_reply(found_id, reply_id, caller_id(request))
        if last.is_end:
            return no_more_events(reply_id)
        stream_format = NDJSON if choose_delivery(request) is Delivery.NDJSON else SSE
        after, headers = place_in(reply_id, last)
        # The types describe Django REST framework's own tokens.
        authenticated: Any = request.auth
        owner_id = authenticated or caller_id(request)
        return stream_reply(
            request._request, reply_id, stream_format, after=after, owner_id=owner_id, headers=headers, is_waiting=waits
        )

    @operations.issue_ticket
    def ticket(self, request: Request, conversation_id: str, message_id: str) -> Response:
        reply_id = require_message_id(message_id)
        _require_reply(require_conversation_id(conversation_id), reply_id, caller_id(request))
        return Response(TicketSchema(issue_ticket(caller_id(request), reply_id), LIFETIME_S))


def _require_reply(conversation_id: UUID, reply_id: UUID, user_id: UUID) -> bool:
    """Return whether a reply has not begun because its message waits. Raises `MessageNotFound`."""
    require_conversation(conversation_id=conversation_id, user_id=user_id)
    replies = Message.objects.in_conversation(conversation_id).filter(id=reply_id, role=Role.ASSISTANT)
    # In this order: a message may have its turn in between.
    if not replies.exists() and not is_waiting(conversation_id, reply_id) and not replies.exists():
        raise MessageNotFound
    return is_waiting(conversation_id, reply_id)


def _read_versions(request: Request) -> str:
    versions = request.query_params.get("versions", "active")
    if versions not in ("active", "all"):
        raise ValidationError({"versions": ["Must be all or active."]})
    return versions
