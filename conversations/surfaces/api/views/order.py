"""/api/tags, and /api/conversations/bulk: what a user puts in order."""

from rest_framework.request import Request

from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.keyset import decode_cursor
from conversations.services.bulk import Filters, change_all, change_some
from conversations.services.tags import count_tags
from conversations.surfaces.api import operations
from conversations.surfaces.api.requests import BulkSerializer
from conversations.surfaces.api.responses import BULK_CURSOR, bulk_answer
from conversations.surfaces.callers import caller_id
from conversations.surfaces.replica import from_replica
from conversations.surfaces.request_fields import read_body


class TagsView(APIView):
    @operations.list_tags
    @from_replica
    def get(self, request: Request) -> Response:
        return Response({"items": count_tags(user_id=caller_id(request))})


class BulkView(APIView):
    @operations.change_conversations
    def post(self, request: Request) -> Response:
        user_id = caller_id(request)
        chosen = read_body(BulkSerializer, request).validated_data
        action, tags = chosen["action"], chosen.get("tags", [])
        if "ids" in chosen:
            result = change_some(user_id=user_id, conversation_ids=chosen["ids"], action=action, tags=tags)
        else:
            after = decode_cursor(chosen["cursor"], BULK_CURSOR) if "cursor" in chosen else None
            filters = Filters(**chosen.get("filters", {}))
            result = change_all(user_id=user_id, filters=filters, action=action, tags=tags, after=after)
        return Response(bulk_answer(action, result))
