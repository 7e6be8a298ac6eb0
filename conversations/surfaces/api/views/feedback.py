"""/api/conversations/{id}/messages/{mid}/feedback: what the user thinks of a reply."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.services.turns.feedback import rate_reply
from conversations.surfaces.api import schema
from conversations.surfaces.api.reading import read_message
from conversations.surfaces.api.shapes import FeedbackSerializer
from conversations.surfaces.fields import require_id


class FeedbackView(APIView):
    @schema.rate_reply
    def put(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id = require_id(conversation_id, ConversationNotFound)
        reply_id = require_id(message_id, MessageNotFound)
        body = FeedbackSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        rate_reply(conversation_id=found_id, user_id=request.user.id, message_id=reply_id, **body.validated_data)
        return Response(read_message(found_id, reply_id))
