"""Hooks for the server: worker start, worker end, forced end."""

import logging
from collections.abc import Callable

import psycopg.waiting

from conversations.readiness import report_database
from conversations.services.history.pruning.prune_runs import watch_prune_runs
from conversations.services.replies.leases import lease
from conversations.services.replies.store import live_replies, reply_store
from conversations.services.sending.model_titles import title_maker
from conversations.services.sending.queue_keeper import queue_keeper
from conversations.services.usage.refused_requests import watch_refused_requests
from conversations.services.webhooks.keeper import webhook_keeper

logger = logging.getLogger(__name__)


def adopt_worker(is_alive: Callable[[], bool], graceful_timeout_s: float, close_idle_connections: Callable[[], None]) -> None:
    """Watch the worker and end with it. Check that gevent patched the process before psycopg was imported."""
    if psycopg.waiting.wait is getattr(psycopg.waiting, "wait_c", None):
        # A slow query would stop every other greenlet of the worker.
        logger.critical("psycopg blocks the whole worker during queries: it was imported before gevent patched the process")
    report_database()
    lease.keep()
    watch_prune_runs()
    watch_refused_requests()
    queue_keeper.keep(stays=True)
    webhook_keeper.keep(should_stop=lambda: live_replies.is_shutting_down)
    reply_store.when_complete = title_maker.consider
    live_replies.adopt_worker(is_alive, graceful_timeout_s, close_idle_connections)


def let_replies_end() -> None:
    """Wait until the worker's replies are saved, then give its lease up.

    The server waits for connections only, and a reply needs none.
    """
    live_replies.wait_until_ended()
    reply_store.give_up_lease()


def end_replies_now() -> None:
    """Save the running replies and end their streams. The server leaves one or two seconds for this."""
    live_replies.end_now()
