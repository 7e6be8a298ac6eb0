"""Log lines: one JSON object each, with the request's trace id, and without anything that was said."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from chatapi.observability.logs import LogFormatter, logging_configuration, trace_id_var, user_id_var
from chatapi.tests.clients import UserClient
from chatapi.tests.failing_urls import PRIVATE

ADDRESS = "/api/conversations"
MINTED = re.compile(r"[0-9a-f]{32}")


class Log:
    """What was logged, as it is written."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(LogFormatter())

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.split("\n") if line]

    def of_request(self) -> dict[str, Any]:
        return next(line for line in self.lines if line["message"] == "request")


@pytest.fixture
def log() -> Iterator[Log]:
    """Everything that the root logger gets, from INFO on."""
    captured = Log()
    root = logging.getLogger()
    level = root.level
    root.addHandler(captured.handler)
    root.setLevel(logging.INFO)
    yield captured
    root.setLevel(level)
    root.removeHandler(captured.handler)
    trace_id_var.set("")
    user_id_var.set("")


def test_a_line_says_when_what_who_and_where(log: Log) -> None:
    trace_id_var.set("trace-1")
    user_id_var.set("user-1")
    logging.getLogger("a.place").warning("it %s", "happened", extra={"inference_time_ms": 7})
    [line] = log.lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("timestamp"))
    assert line == {
        "level": "WARNING",
        "service": "chat-api",
        "logger": "a.place",
        "message": "it happened",
        "trace_id": "trace-1",
        "user_id": "user-1",
        "inference_time_ms": 7,
    }


@pytest.mark.parametrize("message", ["two\nlines", "\u2028 and \r\n", "emoji 🎈", 'quotes " and \\', "nul \x00"])
def test_a_message_stays_on_one_line(log: Log, message: str) -> None:
    logging.getLogger("x").error(message)
    assert log.text.count("\n") == 1
    assert log.lines[0]["message"] == message


def test_an_exception_says_where_and_not_what(log: Log) -> None:
    try:
        raise ValueError(PRIVATE)
    except ValueError:
        logging.getLogger("x").exception("it broke")
    assert PRIVATE not in log.text
    assert re.search(r"ValueError at test_logs\.py:\d+ test_an_exception", log.lines[0]["error"])


def test_a_mistake_in_the_configuration_is_told(log: Log) -> None:
    try:
        raise ImproperlyConfigured("LOG_LEVEL must be one of …")
    except ImproperlyConfigured:
        logging.getLogger("x").exception("it broke")
    assert "LOG_LEVEL must be one of …" in log.lines[0]["error"]


def test_the_configuration_writes_json_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging_configuration("INFO")["handlers"]["stdout"]
    assert handler["stream"] == "ext://sys.stdout"
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(LogFormatter())
    stream.emit(logging.makeLogRecord({"msg": "hello", "levelname": "INFO"}))
    assert json.loads(capsys.readouterr().out)["message"] == "hello"


@pytest.mark.parametrize("offered", ["a-trace.id_7", "x" * 128])
def test_a_trace_id_is_accepted_and_given_back(user: UserClient, log: Log, offered: str) -> None:
    response = user.get(ADDRESS, headers={"X-Trace-Id": offered})
    assert response["X-Trace-Id"] == offered
    assert log.of_request()["trace_id"] == offered


@pytest.mark.parametrize("offered", ["", "two words", "x" * 129, "new\nline", "ümlaut", "semi;colon"])
def test_a_malformed_trace_id_is_replaced(user: UserClient, log: Log, offered: str) -> None:
    response = user.get(ADDRESS, headers={"X-Trace-Id": offered})
    assert MINTED.fullmatch(response["X-Trace-Id"])
    assert log.of_request()["trace_id"] == response["X-Trace-Id"]


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"X-Request-Id": "from-the-proxy"}, "from-the-proxy"),
        ({"X-Request-Id": "from-the-proxy", "X-Trace-Id": "ours"}, "ours"),
        ({"X-Request-Id": "not one, but two"}, None),
    ],
)
def test_a_request_id_is_taken_where_there_is_no_trace_id(
    user: UserClient, log: Log, headers: dict[str, str], taken: str | None
) -> None:
    response = user.get(ADDRESS, headers=headers)
    assert response["X-Trace-Id"] == taken if taken else MINTED.fullmatch(response["X-Trace-Id"])
    assert log.of_request()["trace_id"] == response["X-Trace-Id"]


def test_every_request_has_its_own_trace_id(user: UserClient) -> None:
    assert user.get(ADDRESS)["X-Trace-Id"] != user.get(ADDRESS)["X-Trace-Id"]


def test_a_request_is_one_line(user: UserClient, log: Log) -> None:
    user.get(f"{ADDRESS}?q=secret")
    [line] = [line for line in log.lines if line["message"] == "request"]
    assert (line["method"], line["route"], line["status"], line["user_id"]) == (
        "GET",
        "api/conversations",
        200,
        str(user.user_id),
    )
    assert line["duration_ms"] >= 0


def test_a_request_without_a_user_names_none(user: UserClient, anonymous: UserClient, log: Log) -> None:
    user.get(ADDRESS)
    anonymous.get(ADDRESS)
    assert ["user_id" in line for line in log.lines if line["message"] == "request"] == [True, False]


def test_nothing_private_is_logged(user: UserClient, log: Log, outbound: responses.RequestsMock) -> None:
    conversation = user.post(ADDRESS, {"title": PRIVATE}).json()["id"]
    path = f"{ADDRESS}/{conversation}"
    user.patch(path, {"title": [PRIVATE]})
    user.patch(path, f'{{"title": "{PRIVATE}')
    user.get(f"{ADDRESS}?q={PRIVATE}&cursor={PRIVATE}&tz={PRIVATE}")
    user.get(f"{ADDRESS}/{PRIVATE}")
    user.get(f"/{PRIVATE}")
    user.post(f"{path}/messages", {"content": PRIVATE, "temperature": PRIVATE}, headers={"Idempotency-Key": PRIVATE})
    UserClient(PRIVATE).get(ADDRESS)
    assert len(log.lines) >= 8
    assert PRIVATE not in log.text
    assert user.token not in log.text
    assert django_settings.INTERNAL_API_KEY not in log.text


@pytest.mark.parametrize(
    "how",
    [
        {"status": 403, "body": PRIVATE},
        {"status": 500, "body": PRIVATE},
        {"body": requests.ConnectionError(PRIVATE)},
        {"body": PRIVATE},
    ],
)
@pytest.mark.django_db
def test_a_failing_auth_service_is_an_error_without_its_words(
    log: Log, outbound: responses.RequestsMock, how: dict[str, Any]
) -> None:
    outbound.add(responses.POST, f"{django_settings.AUTH_SERVICE_URL}/auth/validate", **how)
    assert UserClient("private-token").get(ADDRESS).status_code == 503
    [line] = [line for line in log.lines if line["logger"] == "chatapi.auth.authentication"]
    assert line["level"] == "ERROR" and line["message"].startswith("auth service")
    assert line["error"]
    assert PRIVATE not in log.text and "private-token" not in log.text


@pytest.mark.parametrize("path", ["/fail/bug", f"/fail/plain/{PRIVATE}"])
def test_an_unexpected_exception_is_logged_without_its_words_and_its_path(settings: Any, log: Log, path: str) -> None:
    settings.ROOT_URLCONF = "chatapi.tests.failing_urls"
    Client(raise_request_exception=False).get(path)
    [line] = [line for line in log.lines if line["level"] == "ERROR"]
    assert "ValueError at" in line["error"]
    assert PRIVATE not in log.text
