"""One streaming call to the inference service, which another thread can cut off at any moment.

It uses urllib3 without requests, which would double the cost of the call and add nothing to it.
"""

import functools
import time
from http import HTTPStatus
from typing import Any

import orjson
import urllib3
from django.conf import settings
from requests.utils import get_auth_from_url

from chatapi.outgoing.calls import Call, patience_with
from chatapi.outgoing.connections import CONNECT_TIMEOUT_S, new_pools
from inference_proxy.exceptions import UpstreamFailure, UpstreamTimeout, failure_of_exception
from inference_proxy.protocols.refusals.failures import failure_of_response
from inference_proxy.upstream.body import Body
from inference_proxy.upstream.posting import PooledResponse, post
from inference_proxy.upstream.retry_after import read_retry_after

# Some services answer 201 or 202 with the stream.
SUCCESSES = range(200, 204)
POOLED_CONNECTIONS = 256
# A service that sends faster than we read never makes its reader wait. Other replies get their turn after this much of one;
# a read counts at least as much as a small token, because it costs as much.
TURN_BYTES = 128 * 1024
LEAST_READ_BYTES = 1024
# How much of the answer of a refusal is read, and for how long.
REFUSAL_BYTES = 64 * 1024
REFUSAL_SECONDS = 2.0

_pools = new_pools(hosts=4, connections=POOLED_CONNECTIONS)


@functools.lru_cache(maxsize=8)
def _route(pools: urllib3.PoolManager, url: str) -> tuple[Any, str, dict[str, str]]:
    """Return the connections to an address, its path, and the header that its `user:password@` means."""
    user, password = get_auth_from_url(url)
    # As in the calls that go through requests, they replace another Authorization.
    login = {"Authorization": urllib3.util.make_headers(basic_auth=f"{user}:{password}")["authorization"]} if user else {}
    return pools.connection_from_url(url), urllib3.util.parse_url(url).request_uri, login


class UpstreamCall:
    """A `POST` whose answer is read as it comes.

    Three deadlines on the clock hold whatever the service sends: `start_timeout_s` runs to the first bytes of the answer's
    body, `idle_timeout_s` from there on for each piece of it, `total_timeout_s` over all.
    """

    def __init__(self, *, start_timeout_s: float, idle_timeout_s: float, total_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._start_by = time.monotonic() + min(start_timeout_s, total_timeout_s)
        self._end_by = time.monotonic() + total_timeout_s
        self._body: Body | None = None
        self._has_read = False
        self._read_in_this_turn = 0
        patience = patience_with(settings.INFERENCE_SERVICE_URL)
        self._call = Call(min(start_timeout_s, total_timeout_s), patience)

    def cut(self) -> None:
        """End the call from any thread. Its reader gets the end of the stream or a failure at once."""
        self._call.cut()

    def open(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        """Send the request and wait for the answer's headers. Raises `UpstreamFailure`; after that it may be called again."""
        try:
            with self._call:
                pool, target, login = _route(_pools, settings.INFERENCE_SERVICE_URL + path)
                # identity: a compressor would hold the stream back.
                headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers, **login}
                connect_timeout_s = min(CONNECT_TIMEOUT_S, self._start_timeout_s)
                answer = post(pool, target, orjson.dumps(body), headers, connect_timeout_s=connect_timeout_s)
        except (urllib3.exceptions.HTTPError, OSError) as failure:
            raise failure_of_exception(TimeoutError() if self._call.is_late else failure) from None
        if answer.head.status not in SUCCESSES:
            raise self._read_refusal(answer)
        self._body = Body(answer)

    def _read_refusal(self, answer: PooledResponse) -> UpstreamFailure:
        """Return the failure with the reason that the service gives in a short and prompt answer."""
        said = b""
        self._call.deadline.move(min(self._start_by, time.monotonic() + REFUSAL_SECONDS))
        try:
            body = Body(answer)
            while len(said) < REFUSAL_BYTES and (chunk := body.read()):
                said += chunk
            body.close()
        except OSError:
            answer.drop_connection()
        self._call.deadline.move(self._start_by)
        failure = failure_of_response(answer.head.status, said[:REFUSAL_BYTES])
        if failure.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers = answer.head.headers
            # OpenAI and Azure also say it in milliseconds. Some gateways say it only in milliseconds.
            said_wait = headers.get("Retry-After") or f"{headers.get('Retry-After-Ms', '')}ms"
            failure.retry_after_s = read_retry_after(said_wait)
        return failure

    def read(self, *, is_ready: bool = False) -> bytes:
        """Return the next bytes as soon as there are any, b"" at the end. `is_ready` says that there are some, most likely.

        Raises `UpstreamFailure`.
        """
        assert self._body is not None
        if self._read_in_this_turn > TURN_BYTES:
            self._read_in_this_turn = 0
            time.sleep(0)
        call = self._call
        if self._has_read:
            call.deadline.move(min(self._end_by, time.monotonic() + self._idle_timeout_s))
        try:
            chunk = self._body.read(is_ready=is_ready)
        except OSError as failure:
            raise failure_of_exception(TimeoutError() if call.is_late else failure) from None
        if call.is_late:
            # This service has ended it, by a deadline.
            raise UpstreamTimeout
        self._has_read = True
        self._read_in_this_turn += max(LEAST_READ_BYTES, len(chunk))
        return chunk

    @property
    def has_ended_cleanly(self) -> bool:
        """Whether the answer has ended where its framing says so."""
        return self._body is not None and self._body.is_framed and self._body.is_whole

    def give_up_response(self) -> None:
        """Drop the answer, so that the request can be made again in what is left of the time for its start."""
        if self._body is not None:
            self._body.close()
        self._body, self._has_read = None, False
        self._call.deadline.move(self._start_by)

    def close(self) -> None:
        """Give the connection up. Never drains: a reply that its user stopped must stop costing."""
        self._call.finish()
        if self._body is not None:
            self._body.close()
