"""Send spans to OpenTelemetry and errors to Sentry, if their variables are set and requirements-observability.txt is installed.

Neither gets what users wrote, tokens, headers, addresses or bodies: see `tracing` and `strip_event`.
"""

import logging
import os
from typing import Any

from django.conf import settings

from chatapi.observability.logs import SERVICE_NAME, trace_id_var
from chatapi.observability.tracing import trace_with

logger = logging.getLogger(__name__)

# Our messages are constants. Those of libraries may quote an address.
OWN_LOGGERS = ("chatapi", "conversations", "inference_proxy")
EVENT_FIELDS = ("event_id", "timestamp", "platform", "level", "logger", "release", "environment", "server_name", "sdk")
FRAME_FIELDS = ("filename", "function", "module", "lineno", "in_app")


def start_exporters() -> None:
    """Start what the environment asks for. A missing package is logged; the service works without it."""
    for variable, start in (("OTEL_EXPORTER_OTLP_ENDPOINT", _start_opentelemetry), ("SENTRY_DSN", _start_sentry)):
        if getattr(settings, variable):
            try:
                start()
            except ImportError as failure:
                package = (failure.name or "").partition(".")[0]
                logger.error(
                    f"{variable} is set, but the package {package} is not installed: "
                    "pip install -r requirements-observability.txt"
                )


def _start_opentelemetry() -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE_NAME)
    provider = TracerProvider(resource=Resource.create())
    # It reads OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS and its other variables itself.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace_with(provider.get_tracer(SERVICE_NAME))


def _start_sentry() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.logging import LoggingIntegration

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        default_integrations=False,
        auto_enabling_integrations=False,
        # Only log lines at level ERROR, no breadcrumbs.
        integrations=[LoggingIntegration(level=None, event_level=logging.ERROR)],
        send_default_pii=False,
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        propagate_traces=False,
        auto_session_tracking=False,
        enable_metrics=False,
        before_send=strip_event,  # type: ignore[arg-type]
    )


def strip_event(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    """Return a new event for Sentry with only what can't hold users' words: types, places in the code, and our own messages."""
    stripped = {name: event[name] for name in EVENT_FIELDS if name in event}
    stripped["tags"] = {"trace_id": trace_id_var.get()}
    message = (event.get("logentry") or {}).get("message")
    if message and str(event.get("logger", "")).startswith(OWN_LOGGERS):
        # The message before its parameters are put in.
        stripped["logentry"] = {"message": message}
    failures = (event.get("exception") or {}).get("values") or ()
    stripped["exception"] = {"values": [_strip_failure(failure) for failure in failures]}
    return stripped


def _strip_failure(failure: dict[str, Any]) -> dict[str, Any]:
    # Without "value", the exception's text, which may quote a row, a header or a message.
    frames = (failure.get("stacktrace") or {}).get("frames") or ()
    return {
        "type": failure.get("type"),
        "module": failure.get("module"),
        "stacktrace": {"frames": [{name: frame[name] for name in FRAME_FIELDS if name in frame} for frame in frames]},
    }
