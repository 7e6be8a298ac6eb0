"""Send a request over a pool's connection, and get the answer with its body unread.

urllib3's own `urlopen` costs twice as much, because it also redirects, retries and decodes (docs/decisions/0006).
"""

import contextlib
import http.client
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import urllib3

from chatapi.outgoing.calls import current_call
from chatapi.outgoing.connections import note_silence


class PooledResponse:
    """The head of an answer, and the connection that its body comes over."""

    def __init__(self, pool: Any, connection: Any, head: http.client.HTTPResponse) -> None:
        self._pool = pool
        self._connection = connection
        self.head = head

    def keep_connection(self) -> None:
        """Give the connection back, because it can serve another call. Once."""
        self._pool._put_conn(self._connection)

    def drop_connection(self) -> None:
        """Close the connection, whatever is still to come."""
        self.head.close()
        self._connection.close()


def post(pool: Any, target: str, body: bytes, headers: Mapping[str, str], *, connect_timeout_s: float) -> PooledResponse:
    """Send a request and wait for the head of its answer. Raises urllib3's exceptions, or an `OSError`."""
    connection = pool._get_conn()
    was_kept = not connection.is_closed
    try:
        connection.timeout = connect_timeout_s
        try:
            head = _ask(connection, target, body, headers)
            if was_kept and head.status == HTTPStatus.REQUEST_TIMEOUT and head.will_close:
                # Sent because the connection was idle, on its way when this request went out.
                head.close()
                raise ConnectionResetError
        except (OSError, http.client.BadStatusLine):
            call = current_call()
            if not was_kept or (call is not None and call.is_cut):
                raise
            # A service may close a connection that it kept at the moment in which it is used again. A router in between may
            # have forgotten it: then it is silent, until keepalive or the call gives it up.
            note_silence(connection)
            connection.close()
            pool.drop_idle()
            head = _ask(connection, target, body, headers)
        return PooledResponse(pool, connection, head)
    except BaseException as failure:
        note_silence(connection)
        connection.close()
        # In place of the connection.
        pool._put_conn(None)
        if isinstance(failure, ssl.SSLError):
            raise urllib3.exceptions.SSLError(failure) from failure
        if isinstance(failure, http.client.HTTPException):
            raise urllib3.exceptions.ProtocolError("Connection aborted.", failure) from failure
        raise


def _ask(connection: Any, target: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Send a request over a connection, which is made if need be, and return the head of the answer."""
    if connection.is_closed:
        # Before the request, which hands the socket to its call.
        connection.connect()
    # A service may answer and close the connection before it has read everything.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", target, body, headers)
    head: http.client.HTTPResponse = connection.answer()
    return head
