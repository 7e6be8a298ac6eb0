"""The page that Prometheus reads: `/metrics`, at the port METRICS_PORT or with the bearer token METRICS_TOKEN.

It is WSGI middleware and not a view: a scrape waits for no admission, counts for no limit, writes no log line and uses no
database, so the page still answers when the service is overloaded. Under gunicorn it adds up the files of all workers (see
gunicorn.conf.py), so any worker can answer. Every worker listens on METRICS_PORT and answers only this page there.
"""

import hmac
import os
from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

PATH = "/metrics"


class MetricsPage:
    """WSGI middleware: answer `/metrics`, pass everything else on."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if settings.METRICS_PORT is None:
            is_here = path == PATH and bool(settings.METRICS_TOKEN)
        else:
            is_here = _port_of(environ) == settings.METRICS_PORT
        if not is_here:
            return self._application(environ, start_response)
        if path != PATH:
            return _answer(start_response, "404 Not Found", b"Only /metrics is served at this port.\n")
        if settings.METRICS_TOKEN and not _has_token(environ):
            refusal = b"Send METRICS_TOKEN as a bearer token.\n"
            return _answer(start_response, "401 Unauthorized", refusal, ("WWW-Authenticate", "Bearer"))
        if environ["REQUEST_METHOD"] != "GET":
            return _answer(start_response, "405 Method Not Allowed", b"Only GET is allowed.\n", ("Allow", "GET"))
        encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        return _answer(start_response, "200 OK", encode(_registry()), content_type=content_type)


def _port_of(environ: dict[str, Any]) -> int | None:
    """Return the port at which the request arrived. A client can't choose it, as it can the port in the Host header."""
    sock = environ.get("gunicorn.socket")
    name = None if sock is None else sock.getsockname()
    return name[1] if isinstance(name, tuple) else None


def _has_token(environ: dict[str, Any]) -> bool:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    # As bytes: `compare_digest` refuses text that is not ASCII.
    is_right = hmac.compare_digest(token.strip().encode("utf-8", "replace"), settings.METRICS_TOKEN.encode())
    return scheme.lower() == "bearer" and is_right


def _registry() -> CollectorRegistry:
    """Return the metrics of all workers, or of this process where it is the only one."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry


def _answer(
    start_response: Any, status: str, content: bytes, *headers: tuple[str, str], content_type: str = "text/plain; charset=utf-8"
) -> Iterable[bytes]:
    start_response(
        status,
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ],
    )
    return [content]
