"""Addresses that fail in every way there is, beside the real ones."""

from typing import Any

import psycopg
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from chatapi import urls
from chatapi.api.errors import bad_request, page_not_found, server_error
from chatapi.service_error import ServiceError

PRIVATE = "private-words"


class Teapot(ServiceError):
    code = "teapot"
    status = 418
    detail = "I am one."


def read_only() -> InternalError:
    """Make what Django raises where the server can't be written."""
    failure = InternalError(PRIVATE)
    failure.__cause__ = psycopg.errors.ReadOnlySqlTransaction(PRIVATE)
    return failure


FAILURES: dict[str, Exception] = {
    "bug": ValueError(PRIVATE),
    "operational": OperationalError(PRIVATE),
    "interface": InterfaceError(PRIVATE),
    "internal": InternalError(PRIVATE),
    "read-only": read_only(),
    "missing": Http404(PRIVATE),
    "forbidden": PermissionDenied(PRIVATE),
    "suspicious": SuspiciousOperation(PRIVATE),
    "problem": Teapot(retry_after_s=3, message_id="m"),
    "list": ValidationError(["one", "two"]),
    "nested": ValidationError({"outer": {"inner": ["bad"]}, "rows": [{"a": ["x"]}, "y"]}),
    "whole": ValidationError({"non_field_errors": ["not an object"]}),
    "other": APIException("detail"),
}


class FailingView(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes: list[Any] = []

    def get(self, request: Request, kind: str) -> None:
        raise FAILURES[kind]


def plain_failing_view(request: HttpRequest, private: str) -> HttpResponse:
    raise FAILURES.get(private, ValueError(PRIVATE))


urlpatterns = [
    *urls.urlpatterns,
    path("fail/plain/<str:private>", plain_failing_view),
    path("fail/<str:kind>", FailingView.as_view()),
]
handler400, handler404, handler500 = bad_request, page_not_found, server_error
