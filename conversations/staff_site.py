"""The admin site: sign-in limits, and NUL characters in URLs.

It is outside the package `conversations.admin`, because importing that package registers its pages at this site.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path

from chatapi.incoming.client_address import address_group
from chatapi.observability.logs import user_id_var
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permits
from chatapi.permits.shares import at_most
from chatapi.service_error import ServiceError
from conversations.sign_in_limits import TooManyAttempts, count_attempt
from conversations.staff_reason import lacks_reason, reason_of, reason_page

logger = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., HttpResponseBase])

# Hashing the password takes 0.25 s of CPU for each.
MOST_SIGN_INS_AT_ONCE = 8
SIGN_IN_RETRY_S = 5


class TooManySignIns(ServiceError):
    code = "overloaded"
    status = 503
    detail = "Too many people are signing in right now."


LIMIT = Limit(
    what=f"staff sign-ins at once: {MOST_SIGN_INS_AT_ONCE}",
    per="worker",
    refusal=TooManySignIns,
    retry_after_s=SIGN_IN_RETRY_S,
)


class StaffAuthenticationForm(AdminAuthenticationForm):
    """Log failed sign-ins with the address only, because people sometimes type a password into the name field."""

    def get_invalid_login_error(self) -> Any:
        logger.warning("staff sign-in failed", extra={"address": address_group(self.request) if self.request else "unknown"})
        return super().get_invalid_login_error()


class StaffSite(admin.AdminSite):
    """Limit sign-ins before the password is hashed, remove NUL characters from query strings, and name staff in the log."""

    login_form = StaffAuthenticationForm
    sign_ins = Permits(LIMIT, at_most(MOST_SIGN_INS_AT_ONCE))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "POST":
            return super().login(request, extra_context)
        attempt = count_attempt(request)
        if attempt.wait_s:
            return self._refuse(request, TooManyAttempts, attempt.wait_s)
        permit = self.sign_ins.take()
        if permit is None:
            return self._refuse(request, TooManySignIns, SIGN_IN_RETRY_S)
        with permit:
            response = super().login(request, extra_context)
        if response.status_code == 302:
            # The password was right. With a wrong one, the page is shown again.
            attempt.give_back()
        return response

    def get_urls(self) -> list[Any]:
        """Leave out Django's redirect to a row's own page: no row has one, and the redirect fails for rows without one."""
        urls = [url for url in super().get_urls() if getattr(url, "name", None) != "view_on_site"]
        return [path("reason/", self.admin_view(self.reason_view), name="reason"), *urls]

    def reason_view(self, request: HttpRequest) -> HttpResponse:
        """Ask what the staff user looks at conversations for."""
        return reason_page(request, self.each_context(request), request.POST.get("next") or request.GET.get("next", ""))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        stated = reason_of(request) if settings.ADMIN_REASON != "off" else None
        return {**super().each_context(request), "access_reason": stated}

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        inner = super().admin_view(view, cacheable)

        def without_null_characters(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:
            # PostgreSQL refuses text with a NUL character, and not every filter checks for it.
            if "%00" in request.META.get("QUERY_STRING", ""):
                request.GET = QueryDict(request.META["QUERY_STRING"].replace("%00", ""))
            if request.user.is_authenticated:
                # For the request's log line. Users of the API have UUIDs.
                user_id_var.set(f"staff-{request.user.pk}")
                if self.has_permission(request) and lacks_reason(request):
                    wanted = request.get_full_path() if request.method == "GET" else request.path
                    return reason_page(request, self.each_context(request), wanted)
            return inner(request, *arguments, **options)

        return cast(View, without_null_characters)

    def _refuse(self, request: HttpRequest, refusal: type[ServiceError], wait_s: float) -> HttpResponse:
        logger.warning("staff sign-in refused", extra={"address": address_group(request), "status": refusal.status})
        wait = max(1, math.ceil(wait_s))
        context = {**self.each_context(request), "title": "Sign in", "reason": refusal.detail, "wait_s": wait}
        page = TemplateResponse(request, "admin/conversations/sign_in_refused.html", context, status=refusal.status)
        page["Retry-After"] = str(wait)
        return page
