"""Database connections of threads: give them back early, lend them for a moment."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.database.round_trips import Rows, Statement, run_together

# Gives cursors to code outside of requests.
Cursors = Callable[[], AbstractContextManager[Any]]
# Runs statements for it, in one transaction and one round trip.
Runner = Callable[..., list[Rows]]
# What else a thread does before it waits for something other than the database.
_before_waiting: list[Callable[[], None]] = []


def call_before_waiting(function: Callable[[], None]) -> None:
    """Have a function called whenever a thread is about to wait for something other than the database."""
    _before_waiting.append(function)


def tell_before_waiting() -> None:
    """Call these functions: this thread is about to wait."""
    for prepare in _before_waiting:
        prepare()


def release_connections() -> None:
    """Give this thread's database connections back to the pool.

    Called before every wait for another service, before the first byte of every stream, and after every view: a request that
    waits must not hold a connection that others need. A connection inside a transaction (a test's, for example) is left
    alone.

    What `call_before_waiting` was given is called first: the request releases its permit as well (see `incoming.admission`).
    """
    tell_before_waiting()
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def forget_connections() -> None:
    """Give this thread's database connections back and drop what Django keeps for each, about 8 KiB.

    For a thread that streams a reply for minutes. The next query makes them anew.
    """
    release_connections()
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            del connections[connection.alias]


@contextmanager
def own_cursor() -> Iterator[Any]:
    """Lend a cursor of this thread's own connection, and give the connection back."""
    try:
        with connections["default"].cursor() as cursor:
            yield cursor
    finally:
        release_connections()


def run_on_own_connection(*statements: Statement) -> list[Rows]:
    """Run statements on this thread's own connection, and give the connection back."""
    try:
        return run_together(*statements)
    finally:
        release_connections()


class ReleaseConnectionsMiddleware:
    """Give connections back when the response is made. Django does so when the client has read it, if it ever does.

    The outermost, because others use the database on the way out.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self._get_response(request)
        finally:
            release_connections()
