"""What staff say that they look at users' conversations for.

With `ADMIN_REASON=required`, a page about users asks for a reason first. It is remembered for the session, shown in the header
and written into each record of access. With `optional`, the header offers to state one.

It is outside the package `conversations.admin`, because importing that package registers its pages.
"""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme

from conversations.models.staff import MOST_REASON_CHARACTERS

SESSION_KEY = "access_reason"
LEAST_CHARACTERS = 3
# Pages of the application `conversations` that show nothing of a single user.
WITHOUT_REASON = ("conversations_assistant_", "conversations_staffaccess_", "conversations_dashboard")


def reason_of(request: HttpRequest) -> str:
    """Return the reason that the staff user has stated in this session, or ""."""
    return str(request.session.get(SESSION_KEY, "")) if settings.ADMIN_REASON != "off" else ""


def lacks_reason(request: HttpRequest) -> bool:
    """Whether the page needs a reason that is not stated yet."""
    name = (request.resolver_match and request.resolver_match.url_name) or ""
    is_about_users = name.startswith("conversations_") and not name.startswith(WITHOUT_REASON)
    return settings.ADMIN_REASON == "required" and is_about_users and not reason_of(request)


def reason_page(request: HttpRequest, context: dict[str, Any], next_page: str) -> HttpResponse:
    """Ask for a reason, or keep the one that was sent and go on to the page that was wanted."""
    if not url_has_allowed_host_and_scheme(next_page, allowed_hosts=None):
        next_page = settings.ADMIN_PATH
    if request.method == "POST" and "reason" in request.POST:
        reason = " ".join(request.POST["reason"].replace("\x00", "").split())[:MOST_REASON_CHARACTERS]
        if len(reason) >= LEAST_CHARACTERS or (not reason and settings.ADMIN_REASON == "optional"):
            request.session[SESSION_KEY] = reason
            return redirect(next_page)
        messages.error(request, f"Write at least {LEAST_CHARACTERS} characters.")
    values = {"title": "What for?", "next": next_page, "reason": reason_of(request), "most": MOST_REASON_CHARACTERS}
    page = TemplateResponse(request, "admin/conversations/reason.html", {**context, **values})
    page["Cache-Control"] = "no-store"
    return page
