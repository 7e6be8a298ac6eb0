"""What is said of missing packages, and what an event keeps on its way to Sentry."""

import logging
import sys
from typing import Any

import pytest

from chatapi.observability import exporters
from chatapi.observability.exporters import start_exporters, strip_event


@pytest.mark.parametrize(
    ("variable", "value", "package"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318", "opentelemetry"),
        ("SENTRY_DSN", "https://key@sentry.example/1", "sentry_sdk"),
    ],
)
def test_a_missing_package_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, settings: Any, variable: str, value: str, package: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    # Python's own way to say that a module can't be imported.
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    setattr(settings, variable, value)
    with caplog.at_level(logging.WARNING):
        start_exporters()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "ERROR",
            f"{variable} is set, but the package {package} is not installed: pip install -r requirements-observability.txt",
        )
    ]


def test_without_the_variables_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_start_opentelemetry", "_start_sentry"):
        monkeypatch.setattr(exporters, name, lambda: pytest.fail("started"))
    start_exporters()


def test_an_event_keeps_types_and_places_only() -> None:
    frame = {"filename": "views.py", "function": "post", "lineno": 3, "vars": {"content": "private"}, "context_line": "private"}
    failure = {"type": "ValueError", "module": "builtins", "value": "private", "stacktrace": {"frames": [frame]}}
    event = {
        "event_id": "1",
        "level": "error",
        "logger": "conversations.services",
        "logentry": {"message": "saving %s failed", "params": ["private"], "formatted": "saving private failed"},
        "request": {"url": "http://host/?q=private", "data": "private", "headers": {"Authorization": "private"}},
        "user": {"id": "private"},
        "extra": {"content": "private"},
        "breadcrumbs": {"values": [{"message": "private"}]},
        "exception": {"values": [failure]},
    }
    stripped = strip_event(event, {})
    assert "private" not in str(stripped)
    assert stripped["logentry"] == {"message": "saving %s failed"}
    assert stripped["exception"]["values"][0]["stacktrace"]["frames"] == [
        {"filename": "views.py", "function": "post", "lineno": 3}
    ]


def test_messages_of_libraries_are_left_out() -> None:
    assert "logentry" not in strip_event({"logger": "gunicorn.error", "logentry": {"message": "GET /?q=private"}}, {})
