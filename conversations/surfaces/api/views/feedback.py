"""/api/conversations/{id}/messages/{mid}/feedback: the user's rating of a reply."""

from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.services.conversations import lock_conversation
from conversations.services.replies.feedback import rate_reply
from conversations.surfaces.api.operations import messages as operations
from conversations.surfaces.api.queries import read_message
from conversations.surfaces.api.requests import FeedbackBody
from conversations.surfaces.callers import caller_id
from conversations.surfaces.conditional import only_if_unchanged, quoted, tag_of
from conversations.surfaces.ids import require_conversation_id, require_message_id


class FeedbackView(APIView):
    @operations.rate_reply
    def put(self, request: Request, conversation_id: str, message_id: str) -> Response:
        found_id, reply_id = require_conversation_id(conversation_id), require_message_id(message_id)
        body = read_body(FeedbackBody, request)
        user_id = caller_id(request)

        def lock_state() -> str:
            lock_conversation(("id",), conversation_id=found_id, user_id=user_id)
            return tag_of(read_message(found_id, reply_id))

        with only_if_unchanged(request, lock_state):
            rate_reply(conversation_id=found_id, user_id=user_id, message_id=reply_id, **body.chosen())
        rated = read_message(found_id, reply_id)
        return Response(rated, headers={"ETag": quoted(tag_of(rated))})
