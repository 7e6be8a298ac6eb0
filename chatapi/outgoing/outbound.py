"""HTTP to the services beside this one: one way to make a session, one way to read a small answer.

Every call has a deadline on the clock; answers are capped; redirects are not followed; cookies
are refused, or one user's could be sent with another's request; proxies from the environment are ignored.
"""

import contextlib
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from chatapi.database.connections import release_connections
from chatapi.outgoing import tolerant_json
from chatapi.outgoing.calls import Call, Patience, patience_with
from chatapi.outgoing.connections import CONNECT_TIMEOUT_S, new_pools

# Some providers list thousands of models.
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
READ_BYTES = 16 * 1024


class UnusableResponse(Exception):
    """The service answered with something that is not the JSON object we asked for, with too much, or only in part."""


class ServiceResponse(NamedTuple):
    """The status and the JSON object of an answer, and its header `Retry-After`."""

    status: int
    body: dict[str, Any]
    retry_after: str = ""


class _Adapter(HTTPAdapter):
    """An adapter whose connections belong to calls, so that a deadline can end them."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        self.poolmanager = new_pools(hosts=connections, connections=maxsize)


def new_session() -> requests.Session:
    """Return a session for one service, which threads may share: it keeps no state between calls."""
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # Accept-Encoding: identity, so that no stream is held back by a compressor.
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "chat-api"})
    adapter = _Adapter(pool_connections=4, pool_maxsize=64, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def call_json(
    session: requests.Session,
    method: str,
    url: str,
    *,
    json: dict[str, Any] | None = None,
    form: dict[str, str] | None = None,
    headers: dict[str, str],
    deadline_s: float,
    patience: Patience | None = None,
) -> ServiceResponse:
    """Call a service and return its answer. The object is empty where an error has none. `form` is sent as HTML forms are.

    Holds no database connection while it waits. Raises `requests.RequestException` where it can't be reached in time and
    `UnusableResponse` for a success without JSON.
    """
    call = Call(deadline_s, patience)
    with answer_to(call, session, method, url, deadline_s, json=json, data=form, headers=headers) as response:
        body = _read_body(response)
    if call.is_late:
        # This service has ended it, by a deadline.
        raise requests.ReadTimeout
    answer = tolerant_json.load(body)
    if isinstance(answer, list) and all(isinstance(item, dict) for item in answer):
        # Some services send what they list without an object around it.
        answer = {"data": answer}
    if not isinstance(answer, dict):
        if response.status_code < 300:
            raise UnusableResponse
        answer = {}
    return ServiceResponse(response.status_code, answer, response.headers.get("Retry-After", ""))


@contextlib.contextmanager
def answer_to(
    call: Call, session: requests.Session, method: str, url: str, deadline_s: float, **request: Any
) -> Iterator[requests.Response]:
    """Send a request as this call, and yield its answer before its body. Raises `requests.ReadTimeout` if it is late."""
    # Whatever the request has read or noted so far: others need the connection while this one waits.
    release_connections()
    limits = (min(CONNECT_TIMEOUT_S, deadline_s), None)
    try:
        with call, session.request(method, url, timeout=limits, allow_redirects=False, stream=True, **request) as response:
            yield response
    except (requests.RequestException, UnusableResponse):
        if call.is_late:
            raise requests.ReadTimeout from None
        raise
    finally:
        call.finish()


def call_json_idempotently(
    session: requests.Session,
    method: str,
    url: str,
    *,
    json: dict[str, Any] | None = None,
    headers: dict[str, str],
    deadline_s: float,
) -> ServiceResponse:
    """Call a service as `call_json` does, and once more where the connection was cut or fell silent before an answer.

    A service may close a connection that it kept at the moment in which it is used again, and a router in between may forget
    it, which says nothing about the service. The second call has a connection of its own and what is left of the deadline.
    """
    give_up_at = time.monotonic() + deadline_s
    try:
        patience = patience_with(f"{method} {url}")
        answer = call_json(session, method, url, json=json, headers=headers, deadline_s=deadline_s, patience=patience)
        left_s = give_up_at - time.monotonic()
        # A service may say this because a connection that it kept was idle.
        if answer.status != HTTPStatus.REQUEST_TIMEOUT or left_s <= 0:
            return answer
    except requests.ConnectionError as failure:
        left_s = give_up_at - time.monotonic()
        if not _was_cut(failure) or left_s <= 0:
            raise
    with new_session() as fresh:
        return call_json(fresh, method, url, json=json, headers=headers, deadline_s=left_s)


def _was_cut(failure: requests.ConnectionError) -> bool:
    """Tell a connection that was there and broke from one that was refused, timed out, or could not be trusted."""
    cause = failure.args[0] if failure.args else None
    if isinstance(failure, requests.Timeout) or not isinstance(cause, urllib3.exceptions.ProtocolError):
        return False
    return not any(isinstance(reason, TimeoutError) for reason in cause.args)


def _read_body(response: requests.Response) -> bytes:
    body = bytearray()
    try:
        # read1 returns what is there; iter_content waits for a full chunk.
        while chunk := response.raw.read1(READ_BYTES, decode_content=True):
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise UnusableResponse
    except (urllib3.exceptions.HTTPError, OSError) as failure:
        if isinstance(failure, requests.RequestException):
            raise
        raise UnusableResponse from None
    return bytes(body)
