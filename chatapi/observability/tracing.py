"""The trace that a request belongs to: read from its headers, passed on to other services, and sent to OpenTelemetry if wanted.

Without OpenTelemetry the caller's `traceparent` is passed on unchanged. With it, a request, a call to the auth service and a
reply are spans, and `traceparent` names the current one. A span has a name, a route pattern, a status and a duration. It never
has a path, a header, the text of an exception or anything that a user wrote.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from chatapi.observability.logs import trace_id_var

# W3C Trace Context, version 00: trace id and parent id are not zero.
TRACEPARENT_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

# Takes the route and the status of a request.
Describe = Callable[[str, int], None]

_traceparent_var: ContextVar[str] = ContextVar("traceparent", default="")
# OpenTelemetry's tracer, where it is set up (see `exporters`).
_tracer: Any = None
_NO_SPAN: AbstractContextManager[Describe] = nullcontext(lambda route, status: None)


def trace_with(tracer: Any) -> None:
    """Record spans with an OpenTelemetry tracer."""
    global _tracer
    _tracer = tracer


def accept_traceparent(offered: str) -> str:
    """Note the caller's `traceparent` for this request. Return its trace id, or "" if it is malformed."""
    match = TRACEPARENT_FORM.fullmatch(offered)
    _traceparent_var.set(offered if match else "")
    return match[1] if match else ""


def trace_headers() -> dict[str, str]:
    """Return the headers that tell another service which trace its call belongs to."""
    headers = {"X-Trace-Id": trace_id_var.get()}
    if traceparent := _current_traceparent():
        headers["traceparent"] = traceparent
    return headers


def _current_traceparent() -> str:
    if _tracer is not None:
        from opentelemetry.propagate import inject

        carrier: dict[str, str] = {}
        inject(carrier)
        if "traceparent" in carrier:
            return carrier["traceparent"]
    return _traceparent_var.get()


def request_span(method: str) -> AbstractContextManager[Describe]:
    """Record a request as a span. Call what the block gets with its route and status when they are known."""
    return _NO_SPAN if _tracer is None else _recorded_request(method)


@contextmanager
def _recorded_request(method: str) -> Iterator[Describe]:
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    with _span(method, SpanKind.SERVER, context=extract({"traceparent": _traceparent_var.get()})) as span:

        def describe(route: str, status: int) -> None:
            span.update_name(f"{method} {route}".strip())
            span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})

        yield describe


@contextmanager
def traced(name: str) -> Iterator[None]:
    """Record a call of another service as a span. Also a decorator, for each call of a function."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with _span(name, SpanKind.CLIENT):
        yield


@contextmanager
def _span(name: str, kind: Any, context: Any = None) -> Iterator[Any]:
    from opentelemetry.trace import StatusCode

    # OpenTelemetry would record the exception with its text, which may quote a user.
    options: Mapping[str, bool] = {"record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(name, context=context, kind=kind, **options) as span:
        span.set_attribute("chat.trace_id", trace_id_var.get())
        try:
            yield span
        except BaseException as failure:
            span.set_status(StatusCode.ERROR, type(failure).__name__)
            raise
