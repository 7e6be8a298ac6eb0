"""/api/search: the caller's own messages."""

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations.services.search import search_messages
from conversations.surfaces.api import schema
from conversations.surfaces.api.shapes import hit_json
from conversations.surfaces.paging import read_text, read_whole_number

DEFAULT_LIMIT = 20
MAX_LIMIT = 50
MAX_CURSOR_CHARACTERS = 300


class SearchView(APIView):
    @schema.search
    def get(self, request: Request) -> Response:
        params = request.query_params
        limit = read_whole_number(params, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
        text = read_text(params, "q", longest=200).strip()
        if not text:
            raise ValidationError({"q": ["Must contain text to search for."]})
        cursor = read_text(params, "cursor", longest=MAX_CURSOR_CHARACTERS) if "cursor" in params else None
        found = search_messages(user_id=request.user.id, text=text, limit=limit, cursor=cursor)
        return Response({"items": [hit_json(hit) for hit in found.hits], "limit": limit, "next": found.next})
