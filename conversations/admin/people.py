"""What staff do with all of a user: export everything, and erase. Each has a page of its own, and each act is recorded."""

import json
import tempfile
import time
from typing import Any, BinaryIO, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.core.serializers.json import DjangoJSONEncoder
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from redis.exceptions import RedisError

from chatapi.service_error import ServiceError
from conversations.admin.access import reader_of
from conversations.admin.visible import visible
from conversations.ids import parse_id
from conversations.models import AccessKind, ChatUser, Conversation
from conversations.services.history.erase import Receipt, erase_user
from conversations.services.history.exports.own_export import exports
from conversations.services.history.exports.personal_data import export_everything
from conversations.services.history.holds import holds_on_user
from conversations.services.history.user_tables import is_known_user
from conversations.services.staff.access import note_list

EXPORT_PERMISSION = "conversations.export_conversation"
ERASE_PERMISSION = "conversations.erase_chatuser"
# A request may not take for ever. If more is left to erase, staff press the button again.
ERASE_FOR_S = 15.0
EXPORT_FOR_S = 30.0
MOST_COUNTED = 10_000


def export_page(request: HttpRequest, object_id: str) -> HttpResponseBase:
    """Download everything about a user, as `export_history --everything` writes it."""
    user_id = _require(request, object_id, EXPORT_PERMISSION)
    if request.method != "POST":
        return _back(user_id)
    try:
        permit = exports.acquire(user_id)
    except ServiceError as refusal:
        messages.error(request, refusal.text)
        return _back(user_id)
    with permit:
        archive = _write_archive(user_id)
    if archive is None:
        messages.error(request, f"This is more than one request can export. Use export_history --user {user_id} --everything.")
        return _back(user_id)
    note_list(reader=reader_of(request), user_id=user_id, search="everything", kind=AccessKind.EXPORTED)
    response = FileResponse(archive, as_attachment=True, filename=f"user-{user_id}.zip")
    response["Cache-Control"] = "no-store"
    return response


def _write_archive(user_id: UUID) -> BinaryIO | None:
    """Write the archive to a file without a name, which is gone when it is closed. None: it takes too long."""
    # Closed by the response.
    target = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115
    give_up_at = time.monotonic() + EXPORT_FOR_S
    try:
        result = export_everything(target=target, user_id=user_id, should_stop=lambda: time.monotonic() > give_up_at)
    except BaseException:
        target.close()
        raise
    if not result.is_complete:
        target.close()
        return None
    target.seek(0)
    return target


def erase_page(request: HttpRequest, object_id: str, site: AdminSite = admin.site) -> HttpResponse:
    """Ask, erase a user, and show the receipt."""
    user_id = _require(request, object_id, ERASE_PERMISSION)
    known = ChatUser.objects.filter(id=user_id).first()
    wanted = known.email if known and known.email else str(user_id)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Erase this user?",
        "user_id": user_id,
        "name": visible(wanted),
        "count": Conversation.objects.owned_by(user_id)[: MOST_COUNTED + 1].count(),
        "most": MOST_COUNTED,
        "is_held": holds_on_user(user_id).exists(),
    }
    if request.method == "POST":
        if request.POST.get("confirmation", "").strip().casefold() != wanted.casefold():
            messages.error(request, "What you typed is not this user. Nothing was erased.")
        else:
            context |= _erase(request, user_id)
    page = TemplateResponse(request, "admin/conversations/chatuser/erase.html", context)
    page["Cache-Control"] = "no-store"
    return page


def _erase(request: HttpRequest, user_id: UUID) -> dict[str, Any]:
    # Before it begins: what is recorded twice is better than what is not recorded.
    note_list(reader=reader_of(request), user_id=user_id, search="everything", kind=AccessKind.ERASED)
    give_up_at = time.monotonic() + ERASE_FOR_S
    try:
        receipt = erase_user(user_id=user_id, should_stop=lambda: time.monotonic() > give_up_at)
    except ServiceError as refusal:
        messages.error(request, refusal.text)
        return {}
    except RedisError:
        messages.error(request, "The shared cache failed, so the user's tokens are not forgotten yet. Erase again.")
        return {}
    return {
        "title": "Erased" if receipt.is_complete else "Not erased completely yet",
        "receipt": receipt,
        "text": _text(receipt),
    }


def _text(receipt: Receipt) -> str:
    return json.dumps(receipt.as_json(), cls=DjangoJSONEncoder, indent=2)


def _require(request: HttpRequest, object_id: str, permission: str) -> UUID:
    """Return the id of a user about whom something is stored, for staff who may see and do this."""
    if not request.user.has_perms(("conversations.view_chatuser", permission)):
        raise PermissionDenied
    user_id = parse_id(object_id)
    if user_id is None or not is_known_user(user_id=user_id):
        raise Http404
    return user_id


def _back(user_id: UUID) -> HttpResponse:
    return redirect("admin:conversations_chatuser_change", user_id)
