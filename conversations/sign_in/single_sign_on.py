"""Single sign-on for staff, on top of mozilla-django-oidc.

The package sends people to the provider with a state, a nonce and a PKCE challenge that it keeps in their session, takes them
back, and exchanges the code. What is ours: calls with a deadline (`provider`), a strict check of the ID token (`tokens`), who
becomes staff (`people`, `accounts`), and pages that say what happened.
"""

import logging
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from conversations.sign_in import accounts, people, provider, tokens
from conversations.sign_in.methods import SINGLE_SIGN_ON, method_of
from conversations.sign_in.rechecks import note_vouched
from conversations.sign_in.refusals import SignInRefused, TokenRefused

logger = logging.getLogger(__name__)

STATES = "oidc_states"
NEXT = "oidc_login_next"
LEFT_BEHIND = (STATES, NEXT, "oidc_id_token_expiration")
# How long somebody may take at the provider. An unfinished sign-in's session ends then, too.
PATIENCE_S = 15 * 60
MOST_STATES = 10


class Unfinished(SignInRefused):
    def __init__(self) -> None:
        reason = "This sign-in has expired, was finished before, or was begun in another browser. Sign in again."
        super().__init__("state", reason, 400)


class NotGiven(SignInRefused):
    """The provider came back with an error of its own."""

    def __init__(self, is_denied: bool) -> None:
        reason = (
            "The sign-in was cancelled or denied." if is_denied else "The sign-in service reported an error. Sign in again."
        )
        super().__init__("denied" if is_denied else "provider_error", reason, 403)


def read_option(name: str, *default: Any) -> Any:
    """Give the package its options. All others keep the package's defaults."""
    options = {
        "OIDC_RP_CLIENT_ID": settings.ADMIN_OIDC_CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": settings.ADMIN_OIDC_CLIENT_SECRET,
        "OIDC_RP_SCOPES": settings.ADMIN_OIDC_SCOPES,
        "OIDC_AUTHENTICATION_CALLBACK_URL": "admin:oidc_callback",
        "OIDC_USE_PKCE": True,
        "LOGIN_REDIRECT_URL": "admin:index",
    }
    return options[name] if name in options else default[0] if default else None


class SingleSignOnBackend(OIDCAuthenticationBackend):
    """Turns the code of a finished sign-in into a member of staff. Raises `SignInRefused`."""

    def __init__(self) -> None:
        # Django makes a backend for every request of staff. So this reads nothing from the provider, as the package would.
        self.OIDC_RP_CLIENT_ID = settings.ADMIN_OIDC_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.ADMIN_OIDC_CLIENT_SECRET
        self.UserModel = User
        self._budget: provider.Budget

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        return read_option(attr, *args)

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> Any:
        # Django asks every backend. Only the callback, which has checked the state, brings these.
        if not {"nonce", "code_verifier"} <= set(credentials):
            return None
        self._budget = provider.Budget()
        self._metadata = provider.read_metadata(self._budget)
        # RFC 9207: a provider that says who it is must be this one.
        if request is not None and request.GET.get("iss", self._metadata.issuer) != self._metadata.issuer:
            raise TokenRefused("issuer")
        return super().authenticate(request, **credentials)

    def get_token(self, payload: dict[str, str]) -> dict[str, Any]:
        return provider.exchange_code(self._metadata, payload, self._budget)

    def verify_token(self, token: Any, **kwargs: Any) -> dict[str, Any]:
        return tokens.verify_id_token(token, nonce=kwargs["nonce"], metadata=self._metadata, budget=self._budget)

    def get_or_create_user(self, access_token: Any, id_token: Any, payload: dict[str, Any]) -> Any:
        claims = payload
        if not people.has_groups(payload) and self._metadata.user_info and isinstance(access_token, str):
            told = provider.read_user_info(self._metadata, access_token, self._budget)
            if told.get("sub") != payload["sub"]:
                raise TokenRefused("user_info")
            # What is signed counts more.
            claims = {**told, **payload}
        person = people.person_of(claims, issuer=self._metadata.issuer)
        try:
            return accounts.account_of(person)
        except accounts.NotStaff:
            accounts.withdraw(person)
            raise

    def get_user(self, user_id: Any) -> Any:
        # Django's own, which leaves out closed accounts.
        return ModelBackend.get_user(self, user_id)


class StartView(OIDCAuthenticationRequestView):
    """Sends somebody to the provider. Raises `SignInRefused`."""

    def __init__(self, **options: Any) -> None:
        super(OIDCAuthenticationRequestView, self).__init__(**options)
        self.OIDC_RP_CLIENT_ID = settings.ADMIN_OIDC_CLIENT_ID
        self.OIDC_OP_AUTH_ENDPOINT = provider.read_metadata(provider.Budget()).authorization

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        return read_option(attr, *args)

    def get(self, request: HttpRequest) -> HttpResponse:
        states = request.session.get(STATES)
        if isinstance(states, dict) and len(states) >= MOST_STATES:
            request.session[STATES] = {}
        response: HttpResponse = super().get(request)
        if not request.user.is_authenticated:
            request.session.set_expiry(PATIENCE_S)
        return response


class CallbackView(OIDCAuthenticationCallbackView):
    """Takes somebody back from the provider and signs them in. Raises `SignInRefused`."""

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        return read_option(attr, *args)

    def get(self, request: HttpRequest) -> HttpResponse:
        state = request.GET.get("state", "")
        states = request.session.get(STATES)
        begun = states.get(state) if isinstance(states, dict) else None
        if begun is None:
            # Also for an error: without its state, anyone could send it.
            raise Unfinished
        if "error" in request.GET or not request.GET.get("code"):
            del request.session[STATES][state]
            request.session.modified = True
            raise NotGiven(request.GET.get("error") == "access_denied")
        if time.time() - begun["added_on"] > PATIENCE_S:
            raise Unfinished
        try:
            response: HttpResponse = super().get(request)
        except SuspiciousOperation:
            # Another request has used the state meanwhile.
            raise Unfinished from None
        return response

    def login_success(self) -> HttpResponse:
        response: HttpResponse = super().login_success()
        for name in LEFT_BEHIND:
            self.request.session.pop(name, None)
        note_vouched(self.request)
        # As long as other staff sessions.
        self.request.session.set_expiry(None)
        return response

    def login_failure(self) -> HttpResponse:
        raise accounts.AccountClosed


def provider_sign_out_url(request: HttpRequest) -> str:
    """Return where somebody who has signed out here can sign out at the provider. Makes no call."""
    metadata = provider.known_metadata() if method_of(request) == SINGLE_SIGN_ON else None
    return provider.sign_out_url(metadata, request.build_absolute_uri(reverse("admin:login"))) if metadata else ""
