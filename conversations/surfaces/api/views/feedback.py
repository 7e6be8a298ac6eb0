"""/api/conversations/{id}/messages/{mid}/feedback: the user's rating of a reply."""

from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.services.replies.feedback import rate_reply
from conversations.surfaces.api import operations
from conversations.surfaces.api.queries import read_message
from conversations.surfaces.api.requests import FeedbackBody
from conversations.surfaces.callers import caller_id
from conversations.surfaces.ids import require_conversation_id, require_message_id


class FeedbackView(APIView):
    @operations.rate_reply
    def put(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id, reply_id = require_conversation_id(conversation_id), require_message_id(message_id)
        body = read_body(FeedbackBody, request)
        rate_reply(conversation_id=found_id, user_id=caller_id(request), message_id=reply_id, **body.chosen())
        return Response(read_message(found_id, reply_id))
