"""One delivery: the signed request, and what its answer means. The form is that of Standard Webhooks.

The receiver is called as other services are (see `chatapi.outgoing`): by a deadline for the whole, without redirects and
proxies. Without WEBHOOK_ALLOW_PRIVATE it is called at public addresses only.
"""

import contextlib
import functools
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import orjson
import requests
import urllib3.exceptions
from django.conf import settings

from chatapi.outgoing.calls import Call
from chatapi.outgoing.connecting import AddressRefused
from chatapi.outgoing.outbound import READ_BYTES, answer_to, new_session
from conversations.services.webhooks.outbox import Event
from conversations.services.webhooks.public_addresses import is_public
from conversations.services.webhooks.signatures import signature_headers
from inference_proxy.upstream.retry_after import read_retry_after

DEADLINE_S = 15.0
FIRST_WAIT_S, WAITS_GROW = 5.0, 4
LONGEST_WAIT_S = 12 * 3600.0
MOST_RETRY_AFTER_S = 24 * 3600
# The receiver says that it wants this event no more.
GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a delivery went. `reason` is "" if the receiver took the event."""

    reason: str = ""
    is_final: bool = False
    retry_after_s: int = 0

    @property
    def is_delivered(self) -> bool:
        return not self.reason


def deliver(event: Event, text: str | None = None) -> Outcome:
    """Call the receiver once. Raises nothing that a receiver or a network can cause."""
    body = payload(event, text)
    headers = {
        "Content-Type": "application/json",
        **signature_headers(str(event.id), int(time.time()), body, settings.WEBHOOK_SECRETS),
    }
    try:
        status, retry_after = _post(body, headers)
    except requests.RequestException as failure:
        return Outcome(_reason(failure))
    if 200 <= status < 300:
        return Outcome()
    wait_s = read_retry_after(retry_after, most_s=MOST_RETRY_AFTER_S) or 0
    return Outcome(f"status {status}", is_final=status == GONE, retry_after_s=wait_s)


def _post(body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """Return the status of the receiver's answer, and its header `Retry-After`.

    Holds no database connection while it waits. Raises `requests.RequestException` if there is no answer in time.
    """
    call = Call(DEADLINE_S, may_connect=_any_address if settings.WEBHOOK_ALLOW_PRIVATE else is_public)
    with answer_to(call, _session(), "POST", settings.WEBHOOK_URL, DEADLINE_S, data=body, headers=headers) as response:
        # A short body that is read to its end leaves the connection for the next call.
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
            response.raw.read1(READ_BYTES)
            response.raw.read1(1)
    return response.status_code, response.headers.get("Retry-After", "")


def payload(event: Event, text: str | None = None) -> bytes:
    """Return the body. With WEBHOOK_INCLUDE_TEXT the text of a reply goes along; it is null if the reply is deleted."""
    data: dict[str, Any] = dict(event.data)
    if settings.WEBHOOK_INCLUDE_TEXT and event.kind == "reply.ended":
        data["text"] = text
    timestamp = event.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"type": event.kind, "timestamp": timestamp, "data": data})


def wait_before(attempt: int, retry_after_s: float) -> float:
    """Return how long to wait after this attempt has failed. The waits differ, so that a burst does not come back as one."""
    usual_s: float = min(FIRST_WAIT_S * WAITS_GROW ** min(attempt - 1, 20), LONGEST_WAIT_S)
    return max(usual_s * random.uniform(0.8, 1.2), float(retry_after_s))  # noqa: S311  # no secret


@functools.cache
def _session() -> requests.Session:
    return new_session()


def _any_address(_: str) -> bool:
    return True


def _reason(failure: requests.RequestException) -> str:
    """Name a failure in words of ours: those of libraries repeat addresses and what the other side sent."""
    if isinstance(failure, requests.Timeout):
        return "no answer in time"
    if isinstance(failure, requests.exceptions.SSLError):
        return "TLS certificate or handshake rejected"
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return "its address is not public"
        cause = cause.__cause__ or cause.__context__
    return "not reached" if isinstance(failure, requests.ConnectionError) else "the answer is no HTTP"
