"""Deliver what is due: in a thread of every worker, and by `manage.py deliver_webhooks`. Any number may work at once."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from prometheus_client import Counter, Gauge

from chatapi.database.failures import is_database_away
from chatapi.database.pools import SeparatePool
from conversations.services.webhooks.delivery import Outcome, deliver, wait_before
from conversations.services.webhooks.outbox import Event, Failure, Outbox

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 16
POLL_S = 1.0
KEEP_PAUSE_S = 15.0
# While nothing gets through, each process asks less and less often.
LONGEST_PAUSE_S = 30.0
POOL_WAIT_S = 20.0

_deliveries = Counter(
    "chat_webhook_deliveries",
    "Webhooks: delivered, failed (due again later), dead (given up), or dropped (too old or too many).",
    ["outcome"],
)
_events = Gauge(
    "chat_webhook_events",
    "Webhooks that wait, or that were given up; at most 10,000 are counted.",
    ["state"],
    multiprocess_mode="livemax",
)
_oldest_seconds = Gauge(
    "chat_webhook_oldest_event_seconds",
    "How long the oldest webhook waits; 0 while none does.",
    multiprocess_mode="livemax",
)
# Series that exist from the start, so that the first event counts as an increase.
for _outcome in ("delivered", "failed", "dead", "dropped"):
    _deliveries.labels(_outcome)
for _state in ("waiting", "dead"):
    _events.labels(_state)


@dataclass(slots=True)
class Delivered:
    """What became of events: delivered, failed (due again later), or given up."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0

    @property
    def all(self) -> int:
        return self.delivered + self.failed + self.dead

    def add(self, other: "Delivered") -> None:
        self.delivered += other.delivered
        self.failed += other.failed
        self.dead += other.dead


def deliver_due(outbox: Outbox) -> Delivered:
    """Claim at most MOST_AT_ONCE events that are due, deliver them side by side, and note what became of them."""
    events = outbox.claim(MOST_AT_ONCE)
    if not events:
        return Delivered()
    texts: dict[UUID, str] = {}
    if settings.WEBHOOK_INCLUDE_TEXT:
        texts = outbox.read_texts([UUID(event.data["message_id"]) for event in events if event.kind == "reply.ended"])
    outcomes = _deliver_side_by_side(events, texts)
    failures = [_failure(event, outcomes[event.id]) for event in events if not outcomes[event.id].is_delivered]
    result = Delivered(
        delivered=len(events) - len(failures),
        failed=sum(failure.wait_s is not None for failure in failures),
        dead=sum(failure.wait_s is None for failure in failures),
    )
    outbox.settle([event.id for event in events if outcomes[event.id].is_delivered], failures)
    for outcome, count in (("delivered", result.delivered), ("failed", result.failed), ("dead", result.dead)):
        _deliveries.labels(outcome).inc(count)
    for failure in failures:
        what = "webhook given up" if failure.wait_s is None else "webhook not delivered"
        logger.warning(what, extra={"event": str(failure.event.id), "kind": failure.event.kind, "error": failure.reason})
    return result


def _failure(event: Event, outcome: Outcome) -> Failure:
    is_last = outcome.is_final or event.attempts >= settings.WEBHOOK_ATTEMPTS
    return Failure(event, outcome.reason, None if is_last else wait_before(event.attempts, outcome.retry_after_s))


def _deliver_side_by_side(events: list[Event], texts: dict[UUID, str]) -> dict[UUID, Outcome]:
    # What a thread does not answer counts as failed.
    outcomes = {event.id: Outcome("an error of ours; see the log") for event in events}

    def run(event: Event) -> None:
        try:
            text = texts.get(UUID(event.data["message_id"])) if "message_id" in event.data else None
            outcomes[event.id] = deliver(event, text)
        except Exception:
            logger.exception("a webhook can't be delivered", extra={"event": str(event.id)})

    threads = [threading.Thread(target=run, args=(event,), name=f"webhook-{event.id}", daemon=True) for event in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


class WebhookKeeper:
    """The thread of a worker, and of the command with `--loop`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._kept_at = float("-inf")
        self._is_away = False
        self._pause_s = POLL_S

    def keep(self, should_stop: Callable[[], bool]) -> None:
        """Deliver in a thread of its own until the worker ends, if there is a receiver."""
        if settings.WEBHOOK_URL:
            threading.Thread(target=self.run, args=(should_stop,), name="webhook-keeper", daemon=True).start()

    def run(self, should_stop: Callable[[], bool], total: Delivered | None = None) -> None:
        while not should_stop():
            try:
                self.keep_outbox()
                result = deliver_due(self._outbox)
                self._is_away = False
            except Exception as failure:
                # Whatever goes wrong in one round, others follow.
                if not is_database_away(failure):
                    logger.exception("delivering webhooks failed")
                elif not self._is_away:
                    logger.error("webhooks paused: database unavailable", extra={"error": "database_unavailable"})
                self._is_away = is_database_away(failure)
                result = Delivered()
            if total is not None:
                total.add(result)
            if result.all and not result.delivered:
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            else:
                self._pause_s = POLL_S
            if result.all < MOST_AT_ONCE or not result.delivered:
                self._rest(should_stop)

    def _rest(self, should_stop: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + self._pause_s
        while (left_s := ends_at - time.monotonic()) > 0 and not should_stop():
            time.sleep(min(left_s, POLL_S))

    def keep_outbox(self) -> None:
        """Now and then renew the switch, drop what is too old, and show how much waits."""
        if time.monotonic() - self._kept_at < KEEP_PAUSE_S:
            return
        if dropped := self._outbox.keep():
            _deliveries.labels("dropped").inc(dropped)
            logger.error("webhooks dropped: too old or too many", extra={"count": dropped})
        state = self._outbox.state()
        _events.labels("waiting").set(state.waiting)
        _events.labels("dead").set(state.dead)
        _oldest_seconds.set(state.oldest_s)
        self._kept_at = time.monotonic()


# One of its own, so that what waits for a receiver takes nothing from requests and replies. It is opened on first use.
webhook_connections = SeparatePool("webhooks", size=1, timeout_s=POOL_WAIT_S)
webhook_keeper = WebhookKeeper(Outbox(webhook_connections.run))
