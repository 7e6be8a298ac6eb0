"""What the server tells the service about its own life."""

import logging
from collections.abc import Callable

import psycopg.waiting

from conversations.services.turns.replies import live_replies

logger = logging.getLogger(__name__)


def adopt_worker(is_alive: Callable[[], bool], graceful_timeout_s: float, close_idle_connections: Callable[[], None]) -> None:
    """Take a server's worker: end with it, and check that it was patched before psycopg chose how to wait."""
    if psycopg.waiting.wait is getattr(psycopg.waiting, "wait_c", None):
        # A slow query would stop every other greenlet of the worker.
        logger.critical("psycopg does not wait cooperatively: something imported it before gevent patched the process")
    live_replies.adopt_worker(is_alive, graceful_timeout_s, close_idle_connections)


def let_replies_end() -> None:
    """Keep a worker that ends until its replies are saved: the server waits for connections only, and a reply needs none."""
    live_replies.wait_until_ended()


def end_replies_now() -> None:
    """Save the running replies and end their streams: the server has a second or two."""
    live_replies.end_now()
