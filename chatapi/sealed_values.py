"""Values for a cache that others may write to: JSON with a MAC, never pickle.

Whoever can write to the shared cache could otherwise have this service run code (unpickling does) or let in a caller of their
choice. A sealed value is bound to its key and to the time at which it ends, so that it can't be moved to another key, and
an old one can't be put back. What is not sealed so is treated as absent.

Plain integers are the exception: INCR must work on them, so they have no MAC. Nothing but counts may be stored as a bare
integer, and a forged count can only make the service refuse more, or fewer, requests than it should.
"""

import hashlib
import hmac
import json
import re
import time
from functools import lru_cache
from typing import Any

from django.conf import settings

MAC_BYTES = 32
# What fits Redis' own 64-bit counters; a longer number would only cost time to parse.
PLAIN_INTEGER = re.compile(rb"-?\d{1,19}")
ABSENT: Any = object()


def seal(key: str, value: Any, lifetime_s: float | None) -> bytes | int:
    """Return what to store under a key for so many seconds (None: for ever). Raises `TypeError` for what JSON can't say."""
    # bool is an int to Python, not to Redis.
    if type(value) is int:
        return value
    ends_at = None if lifetime_s is None else time.time() + lifetime_s
    payload = json.dumps([ends_at, value], separators=(",", ":"), allow_nan=False).encode()
    return _mac(key, payload) + payload


def unseal(key: str, stored: bytes) -> Any:
    """Return the value that was stored under a key, `ABSENT` where this service did not store it there or it has ended."""
    if PLAIN_INTEGER.fullmatch(stored):
        return int(stored)
    mac, payload = stored[:MAC_BYTES], stored[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, payload)):
        return ABSENT
    ends_at, value = json.loads(payload)
    return ABSENT if ends_at is not None and ends_at <= time.time() else value


def _mac(key: str, payload: bytes) -> bytes:
    return hmac.digest(_mac_key(settings.SECRET_KEY), key.encode() + b"\0" + payload, hashlib.sha256)


@lru_cache(maxsize=2)
def _mac_key(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"chatapi.sealed_values:1", hashlib.sha256)
