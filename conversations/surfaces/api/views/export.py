"""/api/export and /api/conversations/{id}/export: downloads of what a user has said."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.http.response import HttpResponse, HttpResponseBase
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from chatapi.api.views import APIView
from chatapi.database.connections import forget_connections
from chatapi.permits.permit import Permit
from conversations.ids import parse_id
from conversations.services.conversations import require_conversation
from conversations.services.history.exports.own_export import (
    ChatFormat,
    Download,
    OwnFormat,
    export_one,
    export_own,
)
from conversations.surfaces.api.operations import conversations as operations
from conversations.surfaces.callers import caller_id
from conversations.surfaces.ids import require_conversation_id
from conversations.surfaces.query_parameters import read_choice, read_text, read_whole_number
from conversations.surfaces.reply_delivery import open_permit, presence_of

MOST_CONVERSATIONS = 10_000
OWN_FORMATS: tuple[OwnFormat, ...] = ("jsonl", "markdown")
CHAT_FORMATS: tuple[ChatFormat, ...] = ("json", "markdown")
MEDIA_TYPES = {"json": "application/json", "jsonl": "application/x-ndjson", "markdown": "text/markdown; charset=utf-8"}
ENDINGS = {"json": "json", "jsonl": "jsonl", "markdown": "md"}


class ExportView(APIView):
    @operations.export_history
    def get(self, request: Request) -> HttpResponseBase:
        params, user_id = request.query_params, caller_id(request)
        file_format = read_choice(params, "format", OWN_FORMATS)
        after = _read_after(read_text(params, "after", longest=100)) if "after" in params else None
        limit = read_whole_number(params, "limit", 1, least=1, most=MOST_CONVERSATIONS) if "limit" in params else None
        begin = partial(export_own, user_id=user_id, file_format=file_format, after=after, limit=limit)
        return _respond(request, begin, file_format, f"conversations-{datetime.now(UTC):%Y-%m-%d}")


class ConversationExportView(APIView):
    @operations.export_conversation
    def get(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id, user_id = require_conversation_id(conversation_id), caller_id(request)
        chat_format = read_choice(request.query_params, "format", CHAT_FORMATS)
        require_conversation(conversation_id=found_id, user_id=user_id)
        begin = partial(export_one, conversation_id=found_id, user_id=user_id, chat_format=chat_format)
        return _respond(request, begin, chat_format, f"conversation-{found_id}")


class DownloadResponse(StreamingHttpResponse):
    """Hands the download to the server as it is, and releases the user's permit at the end."""

    def __init__(self, download: Download, permit: Permit, headers: dict[str, str]) -> None:
        super().__init__(download, headers=headers)
        self._download = download
        self._permit = permit

    def __iter__(self) -> Iterator[Any]:
        return self._download

    def close(self) -> None:
        self._permit.release()
        super().close()


def _respond(request: Request, begin: Callable[[], Download], file_format: str, name: str) -> HttpResponseBase:
    headers = {
        "Content-Type": MEDIA_TYPES[file_format],
        "Content-Disposition": f'attachment; filename="{name}.{ENDINGS[file_format]}"',
        "Cache-Control": "no-store",
    }
    if request.method == "HEAD":
        return HttpResponse(headers=headers)
    with open_permit(caller_id(request), presence_of(request)) as permit:
        download = begin()
        forget_connections()
        return DownloadResponse(download, permit, headers)


def _read_after(text: str) -> tuple[datetime | None, UUID]:
    """Read the time and the id of a conversation, as a line of an export has them. The time may be missing."""
    # A plus sign that is not escaped in a URL is a space.
    time, _, conversation_id = text.replace(" ", "+").rpartition(",")
    found_id = parse_id(conversation_id)
    try:
        moment = None if time in ("", "null") else datetime.fromisoformat(time)
        if found_id is None or (moment is not None and moment.tzinfo is None):
            raise ValueError
        return (None if moment is None else moment.astimezone(UTC)), found_id
    except (ValueError, OverflowError):
        detail = "Must be the updated_at and the id of a conversation, with a comma between them."
        raise ValidationError({"after": [detail]}) from None
