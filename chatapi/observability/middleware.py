"""One log line a request, and a trace id that goes through everything it causes."""

import logging
import re
import secrets
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from chatapi.observability import metrics
from chatapi.observability.logs import trace_id_var, user_id_var
from chatapi.observability.tracing import accept_traceparent, request_span

logger = logging.getLogger("chatapi.requests")

TRACE_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestLogMiddleware:
    """Accept or mint a trace id, give it back, and log the request without anything that a user wrote.

    The route is logged, not the path: a path may hold an anonymous session's key, a query string what a user searched for.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._note_refused: Callable[[str, int], None] = import_string(settings.REFUSAL_HOOK)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        headers = request.META
        # What proxies add comes last.
        offered = (
            headers.get("HTTP_X_TRACE_ID", ""),
            accept_traceparent(headers.get("HTTP_TRACEPARENT", "")),
            headers.get("HTTP_X_REQUEST_ID", ""),
        )
        trace_id = next(filter(TRACE_ID_FORM.fullmatch, offered), None) or secrets.token_hex(16)
        # A keep-alive connection keeps its thread, and so the last request's context.
        trace_id_var.set(trace_id)
        user_id_var.set("")
        with request_span(request.method or "") as describe:
            response = self._get_response(request)
            match = request.resolver_match
            route = match.route if match else ""
            describe(route, response.status_code)
        response["X-Trace-Id"] = trace_id
        duration_s = time.perf_counter() - started
        metrics.note_request(request.method, route, response.status_code, duration_s)
        if 400 <= response.status_code < 500:
            self._note_refused(user_id_var.get(), response.status_code)
        logger.info(
            "request",
            extra={
                "method": request.method,
                "route": route,
                "status": response.status_code,
                "duration_ms": round(duration_s * 1000, 1),
            },
        )
        return response
