"""/api/tags, and /api/conversations/bulk: what a user puts in order."""

from msgspec import UNSET
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.keyset import decode_cursor
from conversations.services.bulk import Filters, change_all, change_some, count_candidates
from conversations.services.tags import count_tags
from conversations.surfaces.api.operations import conversations as operations
from conversations.surfaces.api.requests import BulkBody
from conversations.surfaces.api.responses.conversations import BULK_CURSOR, TagListSchema, TagSchema, bulk_response
from conversations.surfaces.callers import caller_id
from conversations.surfaces.replica import from_replica
from conversations.surfaces.request_weights import reads_for
from conversations.surfaces.throttles import ReadThrottle


class TagsView(APIView):
    @operations.list_tags
    @from_replica
    def get(self, request: Request) -> Response:
        return Response(TagListSchema([TagSchema(**each) for each in count_tags(user_id=caller_id(request))]))


class BulkView(APIView):
    @operations.change_conversations
    def post(self, request: Request) -> Response:
        user_id = caller_id(request)
        chosen = read_body(BulkBody, request)
        action, tags = chosen.action, [] if chosen.tags is UNSET else chosen.tags
        if chosen.ids is not UNSET:
            _count(request, action, len(chosen.ids))
            result = change_some(user_id=user_id, conversation_ids=chosen.ids, action=action, tags=tags)
        else:
            after = None if chosen.cursor is UNSET else decode_cursor(chosen.cursor, BULK_CURSOR)
            filters = Filters() if chosen.filters is UNSET else Filters(**chosen.filters.chosen())
            _count(request, action, count_candidates(user_id=user_id, filters=filters, action=action, after=after))
            result = change_all(user_id=user_id, filters=filters, action=action, tags=tags, after=after)
        return Response(bulk_response(action, result))


def _count(request: Request, action: str, conversations: int) -> None:
    # A conversation can be deleted once, and its creation was counted. Every other action can be repeated without end.
    if action != "delete":
        ReadThrottle().count_further(request, reads_for(conversations))
