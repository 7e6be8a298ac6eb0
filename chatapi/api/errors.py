"""Errors for clients: `{"detail": "…", "code": "…"}`, and `fields` for invalid fields."""

import logging
import math
import sys
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions

from chatapi.api.wire import Response
from chatapi.database.failures import READ_ONLY, DatabaseUnavailable, is_database_away, sqlstate_of
from chatapi.database.pools import replace_connections
from chatapi.incoming.error_page import error_page
from chatapi.service_error import ServiceError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2


class NotFound(ServiceError):
    code = "not_found"
    status = 404
    detail = "Not found, or it belongs to another user."


class InvalidRequest(ServiceError):
    code = "invalid"
    status = 400
    detail = "The request is invalid."


_DRF_CODES: dict[type[exceptions.APIException], str] = {
    exceptions.NotAuthenticated: "not_authenticated",
    exceptions.AuthenticationFailed: "invalid_token",
    exceptions.PermissionDenied: "permission_denied",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.Throttled: "throttled",
    exceptions.ParseError: "invalid",
    exceptions.UnsupportedMediaType: "invalid",
}


def handle_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Return the response for an exception of a view, or None for an unexpected one (a 500, which Django logs)."""
    if is_database_away(exc):
        exc = _database_unavailable(exc)
    elif isinstance(exc, Http404):
        exc = NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()

    if isinstance(exc, ServiceError):
        return Response(exc.as_json(), status=exc.status, headers=exc.response_headers())
    if isinstance(exc, exceptions.ValidationError):
        return Response(_validation_body(exc), status=400)
    if isinstance(exc, exceptions.APIException):
        return _drf_response(exc)
    return None


def _validation_body(exc: exceptions.ValidationError) -> dict[str, Any]:
    if not isinstance(exc.detail, dict):
        return {"code": "invalid", "detail": " ".join(str(part) for part in exc.detail)}
    fields = {name: _flatten(problems) for name, problems in exc.detail.items()}
    if set(fields) == {"non_field_errors"}:
        return {"code": "invalid", "detail": " ".join(fields["non_field_errors"])}
    name, problems = next(iter(fields.items()))
    return {"code": "invalid", "detail": f"{name}: {problems[0]}", "fields": fields}


def _flatten(problems: Any) -> list[str]:
    if isinstance(problems, dict):
        return [f"{name}: {text}" for name, inner in problems.items() for text in _flatten(inner)]
    if isinstance(problems, list):
        return [text for inner in problems for text in _flatten(inner)]
    return [str(problems)]


def _drf_response(exc: exceptions.APIException) -> Response:
    code = next((code for kind, code in _DRF_CODES.items() if isinstance(exc, kind)), exc.default_code)
    headers = {}
    if header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if (wait := getattr(exc, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return Response({"detail": str(exc.detail), "code": code}, status=exc.status_code, headers=headers)


def _database_unavailable(failure: BaseException) -> DatabaseUnavailable:
    logger.error("database unavailable", exc_info=failure)
    if sqlstate_of(failure) == READ_ONLY:
        # A session may stay read-only although the server is not any more, or lead to a server that lost its role to another.
        replace_connections()
    return DatabaseUnavailable(retry_after_s=RETRY_AFTER_S)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(InvalidRequest())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(NotFound("This URL does not exist."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the response for an unexpected exception. Django calls this while it handles the exception."""
    failure = sys.exc_info()[1]
    if failure is not None and is_database_away(failure):
        return error_page(_database_unavailable(failure))
    return error_page(ServiceError())
