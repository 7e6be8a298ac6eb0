"""Identify the caller: the auth service validates the bearer token, and Django's cache remembers the verdict.

Principle: verdicts are remembered, failures are not. A valid token is remembered for AUTH_CACHE_SECONDS, at most until its
`exp`. A rejection is remembered for 15 s, so that a misconfigured client can't flood the auth service. Everything else (no
answer, an error, a refused INTERNAL_API_KEY) is a 503, and the next request asks again.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import requests
from django.conf import settings
from django.utils.module_loading import import_string
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from chatapi.auth.caller import Caller
from chatapi.auth.remembered_tokens import RememberedToken, cache_key, recall, recalling, remember
from chatapi.database.connections import release_connections
from chatapi.database.recent_writes import note_write, user_key
from chatapi.incoming.client_address import address_group
from chatapi.limits.rejected_tokens import rejected_tokens
from chatapi.observability import metrics
from chatapi.observability.logs import user_id_var
from chatapi.observability.tracing import trace_headers, traced
from chatapi.outgoing.outbound import UnusableResponse, call_json_idempotently, new_session
from chatapi.permits.permit import BRIEF_WAIT_S
from chatapi.service_error import ServiceError

logger = logging.getLogger(__name__)

REJECTION_SECONDS = 15
VALIDATION_DEADLINE_S = 5.0
LATEST_EXPIRY = 2**53
# RFC 6750's token alphabet. Anything else is refused without a call.
TOKEN_FORM = re.compile(r"[A-Za-z0-9._~+/=-]{1,8192}")


class AuthUnavailable(ServiceError):
    code = "auth_unavailable"
    status = 503
    detail = "The service can't check your token right now. Try again in a moment."


@dataclass(frozen=True, slots=True)
class Verdict:
    """The auth service's answer about a token. `caller` is None if it rejects the token."""

    caller: Caller | None
    # How long the verdict may be remembered.
    seconds: float
    # For the directory of users.
    email: str = ""
    name: str = ""


def remember_user(*, user_id: UUID, email: str, name: str, is_admin: bool) -> None:
    """Hand a user whom the auth service has just described to the application (see USER_HOOK in the settings)."""
    import_string(settings.USER_HOOK)(user_id=user_id, email=email, name=name, is_admin=is_admin)


class TokenValidator:
    """Ask the auth service about tokens. Concurrent requests with one token share one call."""

    def __init__(self) -> None:
        self._session = new_session()
        self._lock = threading.Lock()
        self._calls: dict[str, Future[Caller | None]] = {}

    def validate(
        self, token: str, address: str = "", recall: Callable[[str], RememberedToken | None] = recall
    ) -> Caller | None:
        """Return the token's user, or None if the token is not valid. The limit on rejected tokens counts per `address`.

        `recall` returns what is remembered under a key. Raises `AuthUnavailable`, `TooManyRejectedTokens`.
        """
        key = cache_key(token)
        if (remembered := recall(key)) is not None:
            metrics.auth_cache_hits.inc()
            return remembered.caller
        metrics.auth_cache_misses.inc()
        with self._lock:
            call = self._calls.get(key)
            leads = call is None
            if call is None:
                call = self._calls[key] = Future()
        return self._lead(call, token, key, address) if leads else self._follow(call)

    def try_service(self) -> None:
        """Ask the auth service about an invented token. Raises `AuthUnavailable` if it gives no verdict."""
        self._ask("check.setup.token")

    def _follow(self, call: Future[Caller | None]) -> Caller | None:
        with suppress(TimeoutError):
            return call.result(timeout=BRIEF_WAIT_S)
        # The auth service is slow, which must not keep the requests of known users waiting.
        release_connections()
        try:
            return call.result(timeout=2 * VALIDATION_DEADLINE_S)
        except TimeoutError:
            raise AuthUnavailable from None

    def _lead(self, call: Future[Caller | None], token: str, key: str, address: str) -> Caller | None:
        try:
            caller, verdict = self._find_out(token, key, address)
        except BaseException as failure:
            call.set_exception(failure if isinstance(failure, ServiceError) else AuthUnavailable())
            raise
        else:
            call.set_result(caller)
        finally:
            with self._lock:
                del self._calls[key]
        if caller is not None and verdict is not None:
            # After the result is set, so that requests that wait for the verdict don't wait for the database too.
            remember_user(user_id=caller.id, email=verdict.email, name=verdict.name, is_admin=caller.is_admin)
        return caller

    def _find_out(self, token: str, key: str, address: str) -> tuple[Caller | None, Verdict | None]:
        """Return the token's user, and the verdict if that needed a call to the auth service."""
        # Another call may have ended between the check of the cache and the lock.
        if (remembered := recall(key)) is not None:
            return remembered.caller, None
        with rejected_tokens.validation(address, VALIDATION_DEADLINE_S) as call:
            verdict = self._ask(token)
            call.is_rejected = verdict.caller is None
        if verdict.seconds > 0:
            remember(key, RememberedToken(verdict.caller), verdict.seconds)
        return verdict.caller, verdict

    @traced("validate token")
    @metrics.auth_call()
    def _ask(self, token: str) -> Verdict:
        headers = {"X-Internal-API-Key": settings.INTERNAL_API_KEY, **trace_headers()}
        try:
            status, answer, _ = call_json_idempotently(
                self._session,
                "POST",
                f"{settings.AUTH_SERVICE_URL}/auth/validate",
                json={"token": token},
                headers=headers,
                deadline_s=VALIDATION_DEADLINE_S,
            )
        except (requests.RequestException, UnusableResponse) as failure:
            logger.error("auth service call failed", extra={"error": type(failure).__name__})
            raise AuthUnavailable from None
        is_success = 200 <= status < 300
        if status == 401 or (is_success and answer.get("valid") is False):
            return Verdict(None, REJECTION_SECONDS)
        if is_success and answer.get("valid") is True and (verdict := _read_verdict(answer.get("user"), answer.get("claims"))):
            return verdict
        if status == 403:
            logger.error("auth service refuses INTERNAL_API_KEY", extra={"error": "403"})
        else:
            logger.error("auth service gave an unexpected answer", extra={"error": f"status {status}"})
        raise AuthUnavailable


def _read_verdict(user: Any, claims: Any) -> Verdict | None:
    if not isinstance(user, dict):
        return None
    try:
        user_id = UUID(str(user.get("id")))
    except ValueError:
        return None
    caller = Caller(id=user_id, is_admin=user.get("is_admin") is True or _is_admin_email(user, claims))
    return Verdict(caller, _seconds_to_remember(claims), email=_text(user.get("email"), 255), name=_text(user.get("name"), 255))


def _is_admin_email(user: dict[str, Any], claims: Any) -> bool:
    """Say whether ADMIN_EMAILS contains the user's address, which users may be able to choose.

    Only ASCII addresses are compared, because some other letters become ASCII letters in lower case.
    """
    for source in (user, claims):
        if isinstance(source, dict) and source.get("email_verified", True) not in (True, "true"):
            return False
    email = user.get("email")
    return isinstance(email, str) and email.isascii() and email.lower() in settings.ADMIN_EMAILS


def _text(value: Any, limit: int) -> str:
    return value.replace("\x00", "")[:limit] if isinstance(value, str) else ""


def _seconds_to_remember(claims: Any) -> float:
    expires_at = claims.get("exp") if isinstance(claims, dict) else None
    if not isinstance(expires_at, int | float):
        return settings.AUTH_CACHE_SECONDS
    # An integer of JSON may be too large for a float.
    return min(settings.AUTH_CACHE_SECONDS, min(expires_at, LATEST_EXPIRY) - time.time())


validator = TokenValidator()


class BearerAuthentication(authentication.BaseAuthentication):
    """Read `Authorization: Bearer <jwt>`."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = token.strip()
        caller = None
        if TOKEN_FORM.fullmatch(token):
            caller = validator.validate(token, address_group(request._request), recalling(request._request))
        if caller is None:
            raise exceptions.AuthenticationFailed("The token is invalid or has expired.", code="invalid_token")
        user_id_var.set(str(caller.id))
        note_write(request._request, user_key(caller.id))
        return caller, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
