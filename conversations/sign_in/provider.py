"""Calls to the staff's identity provider, as OpenID Connect describes them: metadata, keys, tokens and user info.

Metadata and keys are remembered in this process. Every call shares the deadline of the sign-in that makes it, and holds no
database connection.
"""

import time
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import requests
from django.conf import settings

from chatapi.outgoing.outbound import ServiceResponse, UnusableResponse, call_json, new_session
from conversations.sign_in.refusals import ProviderUnavailable, TokenRefused

METADATA_PATH = "/.well-known/openid-configuration"
# What a sign-in may wait for the provider, in all.
SIGN_IN_LIMIT_S = 10.0
KEPT_S = 3600.0
# A key that is not known yet has the keys fetched again, at most this often: tokens with invented keys must not cause calls.
FRESH_KEYS_S = 30.0

_session = new_session()


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where the provider's parts are."""

    issuer: str
    authorization: str
    token: str
    keys: str
    user_info: str
    end_session: str
    takes_basic: bool


@dataclass(slots=True)
class _Remembered:
    """What this process knows of the provider."""

    metadata: Metadata | None = None
    metadata_at: float = 0.0
    keys: list[dict[str, Any]] | None = None
    keys_at: float = 0.0


_remembered = _Remembered()


def forget_provider() -> None:
    """Forget metadata and keys."""
    global _remembered
    _remembered = _Remembered()


class Budget:
    """The time that one sign-in may still wait for the provider."""

    def __init__(self, seconds: float = SIGN_IN_LIMIT_S) -> None:
        self._ends_at = time.monotonic() + seconds

    def left_s(self) -> float:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise ProviderUnavailable("timeout")
        return left


def read_metadata(budget: Budget) -> Metadata:
    """Return the provider's metadata. Older metadata serves while the provider is away. Raises `ProviderUnavailable`."""
    known = _remembered.metadata
    if known is not None and time.monotonic() - _remembered.metadata_at < KEPT_S:
        return known
    try:
        body = _get(settings.ADMIN_OIDC_ISSUER + METADATA_PATH, budget)
        _remembered.metadata, _remembered.metadata_at = _metadata_of(body), time.monotonic()
    except ProviderUnavailable:
        if known is None:
            raise
        return known
    return _remembered.metadata


def read_keys(metadata: Metadata, budget: Budget, *, must_know: str | None) -> list[dict[str, Any]]:
    """Return the provider's public keys. Keys that lack the id `must_know` are fetched again, at most every 30 seconds."""
    known, age_s = _remembered.keys, time.monotonic() - _remembered.keys_at
    is_enough = known is not None and (must_know is None or any(key.get("kid") == must_know for key in known))
    if known is not None and age_s < (KEPT_S if is_enough else FRESH_KEYS_S):
        return known
    found = _get(metadata.keys, budget).get("keys")
    if not isinstance(found, list):
        raise ProviderUnavailable("keys")
    _remembered.keys = [key for key in found if isinstance(key, dict)]
    _remembered.keys_at = time.monotonic()
    return _remembered.keys


def exchange_code(metadata: Metadata, fields: dict[str, str], budget: Budget) -> dict[str, Any]:
    """Exchange the code of a sign-in for tokens. Raises `TokenRefused` if the provider does not take the code."""
    form, headers = dict(fields), {}
    if metadata.takes_basic:
        # RFC 6749, 2.3.1: both are encoded like a form before they are joined.
        login = f"{quote(form.pop('client_id'), safe='')}:{quote(form.pop('client_secret'), safe='')}"
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    answer = _call("POST", metadata.token, budget, headers=headers, form=form)
    if answer.status in (400, 401, 403):
        raise TokenRefused("code_refused")
    if answer.status != 200:
        raise ProviderUnavailable(f"status_{answer.status}")
    return answer.body


def read_user_info(metadata: Metadata, access_token: str, budget: Budget) -> dict[str, Any]:
    """Return what the provider says of the person whose token it is."""
    answer = _call("GET", metadata.user_info, budget, headers={"Authorization": f"Bearer {access_token}"})
    if answer.status != 200:
        raise ProviderUnavailable(f"status_{answer.status}")
    return answer.body


def sign_out_url(metadata: Metadata, return_to: str) -> str:
    """Return where people end their session at the provider, or "" if it has no such page."""
    if not metadata.end_session:
        return ""
    separator = "&" if urlsplit(metadata.end_session).query else "?"
    query = {"client_id": settings.ADMIN_OIDC_CLIENT_ID, "post_logout_redirect_uri": return_to}
    return f"{metadata.end_session}{separator}{urlencode(query)}"


def known_metadata() -> Metadata | None:
    """Return the metadata that this process remembers. Makes no call."""
    return _remembered.metadata


def _metadata_of(body: dict[str, Any]) -> Metadata:
    issuer = body.get("issuer")
    if not isinstance(issuer, str) or issuer.rstrip("/") != settings.ADMIN_OIDC_ISSUER:
        raise ProviderUnavailable("issuer")
    methods = body.get("token_endpoint_auth_methods_supported")
    return Metadata(
        issuer=issuer,
        authorization=_endpoint(body, "authorization_endpoint"),
        token=_endpoint(body, "token_endpoint"),
        keys=_endpoint(body, "jwks_uri"),
        user_info=_endpoint(body, "userinfo_endpoint", is_required=False),
        end_session=_endpoint(body, "end_session_endpoint", is_required=False),
        # The standard's default, if the provider names none.
        takes_basic=not isinstance(methods, list) or "client_secret_basic" in methods,
    )


def _endpoint(body: dict[str, Any], name: str, *, is_required: bool = True) -> str:
    """Return the URL of an endpoint of the metadata. It must be encrypted if the issuer's own is."""
    value = body.get(name)
    if value is None and not is_required:
        return ""
    schemes = ("https",) if settings.ADMIN_OIDC_ISSUER.startswith("https:") else ("http", "https")
    try:
        is_usable = isinstance(value, str) and urlsplit(value).scheme in schemes and bool(urlsplit(value).hostname)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ProviderUnavailable("metadata")
    return str(value)


def _get(url: str, budget: Budget) -> dict[str, Any]:
    answer = _call("GET", url, budget, headers={})
    if answer.status != 200:
        raise ProviderUnavailable(f"status_{answer.status}")
    return answer.body


def _call(
    method: str, url: str, budget: Budget, *, headers: dict[str, str], form: dict[str, str] | None = None
) -> ServiceResponse:
    headers = {"Accept": "application/json", **headers}
    try:
        return call_json(_session, method, url, headers=headers, form=form, deadline_s=budget.left_s())
    except requests.Timeout:
        raise ProviderUnavailable("timeout") from None
    except requests.RequestException:
        raise ProviderUnavailable("unreachable") from None
    except UnusableResponse:
        raise ProviderUnavailable("unusable") from None
