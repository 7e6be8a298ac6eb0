"""/conversation: begin one, complete one, read them all."""

from collections import defaultdict
from itertools import takewhile
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chatapi.throttling import SendThrottle
from conversations.exceptions import ConversationNotFound
from conversations.message_batches import MAX_BATCH_BYTES
from conversations.models import Conversation, Message
from conversations.services.conversations import create_conversation
from conversations.services.turns.begin import start_turn
from conversations.surfaces.completion import schema
from conversations.surfaces.completion.serializers import CompletionSerializer, message_json
from conversations.surfaces.delivery import Delivery, deliver
from conversations.surfaces.fields import require_id
from conversations.surfaces.headers import next_link, read_idempotency_key
from conversations.surfaces.nulls import known_time
from conversations.surfaces.paging import Page, cut_page, read_page
from conversations.surfaces.sending import admit_send, begin_turn
from inference_proxy.protocols.base import Sampling

DEFAULT_CONVERSATIONS = 20
MOST_CONVERSATIONS = 50
MESSAGES_EACH = 200
CURSOR = "pc"


class ConversationView(APIView):
    @schema.list_conversations
    def get(self, request: Request) -> Response:
        params = request.query_params
        page = read_page(
            Conversation.objects.owned_by(request.user.id).listed().newest_activity_first(),
            ("id", "created_at", "updated_at"),
            params,
            kind=CURSOR,
            time_field="updated_at",
            default=DEFAULT_CONVERSATIONS,
            most=MOST_CONVERSATIONS,
        )
        messages, page = _read_messages(page)
        conversations = [
            {
                "id": row["id"],
                "messages": messages[row["id"]],
                "created_at": known_time(row["created_at"], row["updated_at"]),
            }
            for row in page.rows
        ]
        return Response(conversations, headers=next_link(request.path, params, page.next))

    @schema.create_conversation
    def post(self, request: Request) -> Response:
        conversation = create_conversation(user_id=request.user.id)
        return Response({"id": conversation.id, "messages": [], "created_at": conversation.created_at}, status=201)


class CompletionView(APIView):
    throttle_classes = [SendThrottle]

    @schema.complete
    def post(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_id(conversation_id, ConversationNotFound)
        body = CompletionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        key = read_idempotency_key(request._request)
        how = Delivery.TEXT if body.validated_data["stream"] else Delivery.JSON
        admit_send(request.user.id, how)
        turn = begin_turn(
            request._request,
            how,
            None,
            start_turn,
            conversation_id=found_id,
            user_id=request.user.id,
            content=body.validated_data["message"],
            sampling=Sampling(),
            idempotency_key=key,
        )
        return deliver(request._request, turn, how, user_id=request.user.id, read_message=_read_message)


def _read_messages(page: Page) -> tuple[dict[UUID, list[dict[str, Any]]], Page]:
    """Return the newest active messages of each conversation, oldest first, and the page as far as they could be read.

    The page ends before the first conversation whose messages exceed MAX_BATCH_BYTES. If that is the first conversation of the
    page, its newest messages are read. One query.
    """
    messages: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    unread: set[UUID] = set()
    for message in Message.objects.newest_of_each([row["id"] for row in page.rows], MESSAGES_EACH, MAX_BATCH_BYTES):
        if message.content_read is None:
            unread.add(message.conversation_id)
        else:
            messages[message.conversation_id].append(message_json(message, message.content_read))
    readable = sum(1 for _ in takewhile(lambda row: row["id"] not in unread, page.rows[1:]))
    return messages, cut_page(page, 1 + readable, kind=CURSOR, time_field="updated_at")


def _read_message(message_id: UUID) -> dict[str, Any]:
    message = Message.objects.filter(id=message_id).only("id", "role", "content", "created_at").first()
    if message is None:
        # Deleted with its conversation while the reply was awaited.
        raise ConversationNotFound
    return message_json(message, message.content)
