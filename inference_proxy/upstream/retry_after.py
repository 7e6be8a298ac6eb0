"""When the inference service says that it may be asked again: `Retry-After`, in seconds or as a date."""

import math
import re
import time
from email.utils import parsedate_to_datetime

# Longer waits are no use to a user who waits for a reply.
MOST_S = 3600
SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def read_retry_after(said: str, most_s: int = MOST_S) -> int | None:
    """Return whole seconds from 1 to `most_s`, or None where the header does not say it."""
    said = said.strip()
    wait_s = float(said) if SECONDS.fullmatch(said) else _seconds_until(said)
    return None if wait_s is None else min(max(1, math.ceil(wait_s)), most_s)


def _seconds_until(date: str) -> float | None:
    # A longer text is no date. Parsing takes time that grows with it.
    if not date or len(date) > 64:
        return None
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
        return None
