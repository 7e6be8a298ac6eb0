"""A thread of each worker that reads what can be read at any time, and measures how late it wakes up itself."""

import logging
import threading
import time
from collections.abc import Callable

from chatapi.observability import metrics

logger = logging.getLogger(__name__)

PAUSE_S = 0.5

# Sets gauges, without waiting for anything.
Sample = Callable[[], None]


def start_sampling(*samples: Sample) -> None:
    """Call each function twice a second, in a thread of its own, for the life of the process."""
    threading.Thread(target=_run, args=(samples,), name="metrics-sampler", daemon=True).start()


def _run(samples: tuple[Sample, ...]) -> None:
    while True:
        due = time.monotonic() + PAUSE_S
        time.sleep(PAUSE_S)
        # Under gevent a thread that has slept waits for its turn in the event loop, like every other.
        metrics.loop_lag_seconds.observe(max(0.0, time.monotonic() - due))
        try:
            metrics.database_reached.set(metrics.database_reached_at())
            for sample in samples:
                sample()
        except Exception:
            # The sampler must survive any failure of one round.
            logger.exception("reading the figures for metrics failed")
