"""When the inference service says that it may be asked again: `Retry-After`, in seconds or as a date.

Some gateways send a duration with its units, such as `1m30s`, or a date as ISO 8601 has it.
"""

import math
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Longer waits are no use to a user who waits for a reply.
MOST_S = 3600
LONGEST = 64
NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
SECONDS = re.compile(rf"\+?{NUMBER}(?:,.*)?", re.DOTALL)
PART = re.compile(
    rf"{NUMBER} ?(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b ?|{NUMBER}(m|h)(?=[0-9])", re.IGNORECASE
)
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


def read_retry_after(said: str, most_s: int = MOST_S) -> int | None:
    """Return whole seconds from 1 to `most_s`, or None where the header does not say it."""
    # A longer text is no time. Parsing takes time that grows with it.
    said = said.strip(" \t\"'")[: LONGEST + 1]
    if not said or len(said) > LONGEST:
        return None
    if plain := SECONDS.fullmatch(said):
        wait_s: float | None = float(plain[1])
    else:
        wait_s = _duration_s(said) or _seconds_until(said)
    return None if wait_s is None else min(max(1, math.ceil(wait_s)), most_s)


def _duration_s(said: str) -> float | None:
    parts = list(PART.finditer(said))
    if not parts or "".join(part[0] for part in parts) != said:
        return None
    return sum(float(part[1] or part[3]) * _unit_s((part[2] or part[4]).lower()) for part in parts)


def _unit_s(unit: str) -> float:
    if unit in ("ms", "millisecond", "milliseconds"):
        return 0.001
    return UNITS_S[unit[0]]


def _seconds_until(date: str) -> float | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = read(date)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            continue
    return None
