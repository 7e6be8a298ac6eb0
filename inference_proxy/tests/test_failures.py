"""What went wrong, as a client hears of it."""

import ssl

import pytest
import requests
import urllib3.exceptions
from requests.exceptions import ChunkedEncodingError, ConnectTimeout, InvalidURL, ReadTimeout, SSLError
from urllib3.exceptions import IncompleteRead, ProtocolError, ReadTimeoutError

from inference_proxy.exceptions import (
    FAILURES,
    NotSaved,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
    failure_of_exception,
    failure_of_status,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (503, UpstreamUnavailable),
        (521, UpstreamUnavailable),
        (523, UpstreamUnavailable),
        (429, UpstreamBusy),
        (529, UpstreamBusy),
        (408, UpstreamTimeout),
        (504, UpstreamTimeout),
        (522, UpstreamTimeout),
        (524, UpstreamTimeout),
        (520, UpstreamError),
        (500, UpstreamError),
        (502, UpstreamError),
        (400, UpstreamError),
        (401, UpstreamRefused),
        (402, UpstreamRefused),
        (403, UpstreamRefused),
        (404, UpstreamError),
        (301, UpstreamError),
        (204, UpstreamError),
    ],
)
def test_refusals(status: int, kind: type[UpstreamError]) -> None:
    assert type(failure_of_status(status)) is kind


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ConnectTimeout(), UpstreamTimeout),
        (ReadTimeout(), UpstreamTimeout),
        (ReadTimeoutError(None, "/", "slow"), UpstreamTimeout),  # type: ignore[arg-type]
        (TimeoutError(), UpstreamTimeout),
        (requests.ConnectionError("refused"), UpstreamUnavailable),
        (requests.ConnectionError(), UpstreamUnavailable),
        (SSLError("bad certificate"), UpstreamUnavailable),
        (urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("unknown authority")), UpstreamUnavailable),
        (urllib3.exceptions.SSLError(ssl.SSLEOFError("broke off")), UpstreamError),
        (requests.ConnectionError(ProtocolError("Connection aborted.")), UpstreamError),
        (ChunkedEncodingError(), UpstreamError),
        (IncompleteRead(1, 2), UpstreamError),
        (ProtocolError("broke"), UpstreamError),
        (urllib3.exceptions.DecodeError("zip"), UpstreamError),
        (InvalidURL(), UpstreamError),
        (ConnectionResetError(), UpstreamError),
        (ValueError("closed"), UpstreamError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_exceptions(raised: Exception, kind: type[UpstreamError]) -> None:
    assert type(failure_of_exception(raised)) is kind


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (UpstreamUnavailable, "upstream_unavailable", 503),
        (UpstreamBusy, "upstream_busy", 503),
        (UpstreamRefused, "upstream_refused", 502),
        (UpstreamError, "upstream_error", 502),
        (UpstreamTimeout, "upstream_timeout", 504),
        (NotSaved, "not_saved", 503),
    ],
)
def test_codes(kind: type[UpstreamError], code: str, status: int) -> None:
    failure = kind(message_id="m")
    assert (failure.code, failure.status) == (code, status)
    assert failure.as_json() == {"code": code, "detail": failure.text, "message_id": "m"}
    assert FAILURES[code] is kind


def test_no_failure_repeats_what_was_raised() -> None:
    failure = failure_of_exception(requests.ConnectionError("http://user:password@inference"))
    assert "password" not in failure.text
