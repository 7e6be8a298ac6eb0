"""The two paths of single sign-on: the way to the provider and the way back. A failure becomes a page that says why."""

import logging
import math
from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from chatapi.incoming.client_address import address_group
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permits
from chatapi.permits.shares import at_most
from chatapi.service_error import ServiceError
from conversations.models.staff import AccessKind
from conversations.services.staff.access import Reader, note_list
from conversations.sign_in.limits import TooManyAttempts, count_start, give_start_back
from conversations.sign_in.methods import SINGLE_SIGN_ON, is_single_sign_on_set_up
from conversations.sign_in.refusals import SignInRefused
from conversations.sign_in.staff_sessions import forget_ended

logger = logging.getLogger(__name__)

# Each waits for the provider for up to ten seconds. Sign-ins with a password have permits of their own: they must work
# while the provider hangs.
MOST_AT_ONCE = 8
RETRY_S = 5


class ProviderBusy(ServiceError):
    code = "overloaded"
    status = 503
    detail = "Too many people are signing in right now."


LIMIT = Limit(
    what=f"staff sign-ins at the identity provider at once: {MOST_AT_ONCE}",
    per="worker",
    refusal=ProviderBusy,
    retry_after_s=RETRY_S,
)
permits = Permits(LIMIT, at_most(MOST_AT_ONCE))
Step = Callable[[HttpRequest], HttpResponse]


def start_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Send somebody to the provider."""
    if wait_s := count_start(request):
        return _problem(request, context, TooManyAttempts.detail, 429, wait_s)
    # Only here: it loads cryptography, which most installations do not need.
    from conversations.sign_in.single_sign_on import StartView

    return _take_step(request, context, StartView.as_view())


def callback_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Sign in somebody who comes back from the provider."""
    from conversations.sign_in.single_sign_on import CallbackView

    before = request.user.pk
    response = _take_step(request, context, CallbackView.as_view())
    if response.status_code == 302:
        give_start_back(request)
        forget_ended(request.user)
        user: Any = request.user
        if user.pk == before:
            # The same person was checked again.
            return response
        reader = Reader(staff_id=user.pk, staff_name=user.get_username(), address=request.META.get("REMOTE_ADDR", ""))
        note_list(reader=reader, user_id=None, search=SINGLE_SIGN_ON, kind=AccessKind.SIGNED_IN)
    return response


def _take_step(request: HttpRequest, context: dict[str, Any], step: Step) -> HttpResponse:
    if not is_single_sign_on_set_up():
        raise Http404
    permit = permits.take()
    if permit is None:
        return _problem(request, context, ProviderBusy.detail, ProviderBusy.status, RETRY_S)
    with permit:
        try:
            return step(request)
        except SignInRefused as refusal:
            told = {"why": refusal.code, "address": address_group(request), "status": refusal.status}
            logger.warning("staff single sign-on refused", extra=told)
            return _problem(request, context, refusal.reason, refusal.status, RETRY_S if refusal.status == 503 else 0)


def _problem(request: HttpRequest, context: dict[str, Any], reason: str, status: int, wait_s: float) -> HttpResponse:
    wait = max(1, math.ceil(wait_s)) if wait_s else 0
    context |= {"title": "Sign in", "reason": reason, "wait_s": wait}
    page = TemplateResponse(request, "admin/conversations/sign_in_refused.html", context, status=status)
    page["Cache-Control"] = "no-store"
    if wait:
        page["Retry-After"] = str(wait)
    return page
