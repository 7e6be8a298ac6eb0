"""/api/changes: what changed in the caller's conversations since a cursor, as one answer or as a stream."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from chatapi.api.views import APIView
from chatapi.api.wire import Response, write_json
from conversations.services.changes.cursors import Cursor
from conversations.services.changes.listening import Listeners
from conversations.services.changes.reading import Page, begin, read_page
from conversations.surfaces.api.operations import conversations as operations
from conversations.surfaces.api.responses.conversations import ChangesSchema, ConversationSchema
from conversations.surfaces.callers import caller_id
from conversations.surfaces.open_streams import open_change_streams
from conversations.surfaces.query_parameters import read_whole_number
from conversations.surfaces.reply_delivery import Delivery, choose_delivery, open_permit, presence_of, relay
from inference_proxy.replies.streams import SSE, headers_only

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


def make_response(rows: Sequence[dict[str, Any]], gone: Sequence[UUID], cursor: str, has_more: bool) -> ChangesSchema:
    return ChangesSchema(ConversationSchema.from_rows(rows), list(gone), cursor, has_more)


listeners = Listeners(ConversationSchema.columns, lambda *changes: write_json(make_response(*changes)))


class ChangesView(APIView):
    # Not from a replica: a standby does not know which transactions are running.
    @operations.list_changes
    def get(self, request: Request) -> HttpResponseBase:
        if choose_delivery(request._request, default=Delivery.JSON) is Delivery.SSE:
            return _listen(request)
        page = _read_page(request, request.query_params.get("since"))
        return Response(make_response(page.rows, page.gone, page.next.encode(), page.has_more))


def _read_page(request: Request, since: str | None) -> Page:
    limit = read_whole_number(request.query_params, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    user_id = caller_id(request)
    if since is None:
        return Page([], [], begin(user_id), has_more=False)
    return read_page(user_id, Cursor.decode(since), limit, ConversationSchema.columns)


def _listen(request: Request) -> HttpResponseBase:
    user_id, asked = caller_id(request), request._request
    params = request.query_params
    since = asked.META.get("HTTP_LAST_EVENT_ID") or params.get("lastEventId") or params.get("since")
    # Before the stream begins, so that an expired cursor is an error of the request.
    page = _read_page(request, since)
    if asked.method == "HEAD":
        return headers_only(SSE.media_type, {})
    with open_permit(user_id, presence_of(asked), streams=open_change_streams) as permit:
        return relay(asked, listeners.join(user_id, page), SSE, {}, permit)
