"""The admin site: how staff sign in, what their sessions still need, and NUL characters in URLs.

It is outside the package `conversations.admin`, because importing that package registers its pages at this site.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.cache import never_cache

from chatapi.incoming.client_address import address_group
from chatapi.observability.logs import user_id_var
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permits
from chatapi.permits.shares import at_most
from chatapi.service_error import ServiceError
from conversations.models.staff import AccessKind
from conversations.sign_in import pages, provider_pages, rechecks, second_factor
from conversations.sign_in.limits import TooManyAttempts, count_attempt
from conversations.sign_in.methods import PASSWORD, is_single_sign_on_set_up, method_of
from conversations.sign_in.second_factor import State
from conversations.sign_in.staff_sessions import forget_ended, note_session
from conversations.staff_reason import lacks_reason, reason_of, reason_page

logger = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., HttpResponseBase])
# A page of a session that may lack its second factor, and the states in which it is shown.
OwnPage = Callable[[HttpRequest, dict[str, Any]], HttpResponse]
ANY_STATE = frozenset(State)
COMPLETE = frozenset({State.NOTHING})
ENROLLING = frozenset({State.NOTHING, State.ENROLMENT})

FORM_TOO_OLD = (
    "This page was open for too long, and what you sent was not saved. Open the page again, which checks your sign-in. Then "
    "send it once more."
)
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


class PasswordsOff(ServiceError):
    code = "permission_denied"
    status = 403
    detail = "Passwords are switched off here. Use single sign-on."


class StaffAuthenticationForm(AdminAuthenticationForm):
    """Log failed sign-ins with the address only, because people sometimes type a password into the name field."""

    def get_invalid_login_error(self) -> Any:
        logger.warning("staff sign-in failed", extra={"address": address_group(self.request) if self.request else "unknown"})
        return super().get_invalid_login_error()


class StaffSite(admin.AdminSite):
    """Limit sign-ins before the password is hashed, remove NUL characters from query strings, and name staff in the log."""

    login_form = StaffAuthenticationForm
    sign_ins = Permits(LIMIT, at_most(MOST_SIGN_INS_AT_ONCE))

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Leave out the pages of django-otp, which show the keys of devices. Ours are in `conversations.sign_in.pages`."""
        if admin_class is None or not admin_class.__module__.startswith("django_otp."):
            super().register(model_or_iterable, admin_class, **options)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "has_single_sign_on": is_single_sign_on_set_up(),
            "has_passwords": settings.ADMIN_PASSWORDS,
            **(extra_context or {}),
        }
        if request.method != "POST":
            return super().login(request, context)
        if not settings.ADMIN_PASSWORDS:
            return self._refuse(request, PasswordsOff, 0)
        attempt = count_attempt(request)
        if attempt.wait_s:
            return self._refuse(request, TooManyAttempts, attempt.wait_s)
        permit = self.sign_ins.take()
        if permit is None:
            return self._refuse(request, TooManySignIns, SIGN_IN_RETRY_S)
        with permit:
            response = super().login(request, context)
        if response.status_code == 302:
            # The password was right. With a wrong one, the page is shown again.
            attempt.give_back()
            # Where a sign-in at the provider was begun and not finished, its session would end soon.
            request.session.set_expiry(None)
            forget_ended(request.user)
            pages.note_act(request, AccessKind.SIGNED_IN, PASSWORD)
        return response

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Sign out here. Who came from the identity provider is offered to sign out there, too."""
        context = dict(extra_context or {})
        if request.method == "POST" and request.user.is_authenticated:
            pages.note_act(request, AccessKind.SIGNED_OUT, method_of(request))
            if method_of(request) != PASSWORD:
                from conversations.sign_in.single_sign_on import provider_sign_out_url

                context["provider_sign_out"] = provider_sign_out_url(request)
        return super().logout(request, context)

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether this is staff, and the session lacks nothing."""
        return super().has_permission(request) and second_factor.state_of(request) in COMPLETE

    def get_urls(self) -> list[Any]:
        """Leave out Django's redirect to a row's own page: no row has one, and the redirect fails for rows without one."""
        urls = [url for url in super().get_urls() if getattr(url, "name", None) != "view_on_site"]
        return [
            path("reason/", self.admin_view(self.reason_view), name="reason"),
            path("sessions/", self._own(pages.sessions_page, COMPLETE), name="sessions"),
            path("second-factor/", self._own(pages.factor_page, ENROLLING), name="second_factor"),
            path("second-factor/code/", self._own(pages.code_page, ANY_STATE), name="second_factor_code"),
            path("oidc/start/", self._open(provider_pages.start_page), name="oidc_start"),
            path("oidc/callback/", self._open(provider_pages.callback_page), name="oidc_callback"),
            *urls,
        ]

    def _open(self, page: OwnPage) -> Callable[[HttpRequest], HttpResponse]:
        """Make a page that needs no sign-in."""
        return never_cache(lambda request: page(request, self.each_context(request)))

    def _own(self, page: OwnPage, states: frozenset[State]) -> Callable[[HttpRequest], HttpResponse]:
        """Make a page of staff about themselves, for sessions in one of these states."""

        def view(request: HttpRequest) -> HttpResponse:
            if not super(StaffSite, self).has_permission(request):
                return redirect_to_login(request.get_full_path(), reverse("admin:login"))
            user_id_var.set(f"staff-{request.user.pk}")
            note_session(request, method=method_of(request))
            if rechecks.is_recheck_due(request):
                return self._recheck(request)
            state = second_factor.state_of(request)
            if state not in states:
                return redirect(pages.second_factor_path(request, state))
            return page(request, self.each_context(request))

        return never_cache(view)

    def reason_view(self, request: HttpRequest) -> HttpResponse:
        """Ask what the staff user looks at conversations for."""
        return reason_page(request, self.each_context(request), request.POST.get("next") or request.GET.get("next", ""))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        stated = reason_of(request) if settings.ADMIN_REASON != "off" else None
        has_page = settings.ADMIN_SECOND_FACTOR != "off" and request.user.is_authenticated and method_of(request) == PASSWORD
        return {**super().each_context(request), "access_reason": stated, "has_second_factor_page": has_page}

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        inner = super().admin_view(view, cacheable)

        def without_null_characters(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:
            # PostgreSQL refuses text with a NUL character, and not every filter checks for it.
            if "%00" in request.META.get("QUERY_STRING", ""):
                request.GET = QueryDict(request.META["QUERY_STRING"].replace("%00", ""))
            if request.user.is_authenticated:
                # For the request's log line. Users of the API have UUIDs.
                user_id_var.set(f"staff-{request.user.pk}")
                if super(StaffSite, self).has_permission(request):
                    note_session(request, method=method_of(request))
                    is_leaving = request.path == reverse("admin:logout")
                    if rechecks.is_recheck_due(request) and not is_leaving:
                        return self._recheck(request)
                    if (state := second_factor.state_of(request)) not in COMPLETE:
                        # Signing out needs no second factor. Django's own view would lead to the start page instead.
                        return self.logout(request) if is_leaving else redirect(pages.second_factor_path(request, state))
                if self.has_permission(request) and lacks_reason(request):
                    wanted = request.get_full_path() if request.method == "GET" else request.path
                    return reason_page(request, self.each_context(request), wanted)
            return inner(request, *arguments, **options)

        return cast(View, without_null_characters)

    def _recheck(self, request: HttpRequest) -> HttpResponse:
        """Send somebody to the provider and back to the page that they wanted. A form is not sent again on its own."""
        if rechecks.opens_page(request):
            return redirect_to_login(request.get_full_path(), reverse("admin:oidc_start"))
        context = {**self.each_context(request), "title": "Sign in again", "reason": FORM_TOO_OLD, "wait_s": 0}
        return TemplateResponse(request, "admin/conversations/sign_in_refused.html", context, status=403)

    def _refuse(self, request: HttpRequest, refusal: type[ServiceError], wait_s: float) -> HttpResponse:
        logger.warning("staff sign-in refused", extra={"address": address_group(request), "status": refusal.status})
        wait = max(1, math.ceil(wait_s)) if wait_s else 0
        context = {**self.each_context(request), "title": "Sign in", "reason": refusal.detail, "wait_s": wait}
        page = TemplateResponse(request, "admin/conversations/sign_in_refused.html", context, status=refusal.status)
        if wait:
            page["Retry-After"] = str(wait)
        return page
