"""/api/search: the caller's own messages and titles."""

import html

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.services.search.messages import Hit, search_messages
from conversations.services.search.snippets import MATCH_START, MATCH_STOP
from conversations.surfaces.api.operations import service as operations
from conversations.surfaces.api.responses.messages import HitListSchema, HitSchema
from conversations.surfaces.callers import caller_id
from conversations.surfaces.query_parameters import read_text, read_whole_number
from conversations.surfaces.replica import from_replica

DEFAULT_LIMIT = 20
MAX_LIMIT = 50
MAX_CURSOR_CHARACTERS = 300


class SearchView(APIView):
    @operations.search
    @from_replica
    def get(self, request: Request) -> Response:
        params = request.query_params
        limit = read_whole_number(params, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
        text = read_text(params, "q", longest=200).strip()
        if not text:
            raise ValidationError({"q": ["Must contain text to search for."]})
        cursor = read_text(params, "cursor", longest=MAX_CURSOR_CHARACTERS) if "cursor" in params else None
        found = search_messages(user_id=caller_id(request), text=text, limit=limit, cursor=cursor)
        return Response(HitListSchema([_shown(hit) for hit in found.hits], limit, found.next))


def _shown(hit: Hit) -> HitSchema:
    # Escape before marking, so that <mark> is the only tag in a snippet.
    snippet = html.escape(hit.snippet).replace(MATCH_START, "<mark>").replace(MATCH_STOP, "</mark>")
    return HitSchema.from_row({**{name: getattr(hit, name) for name in HitSchema.columns}, "snippet": snippet})
