"""Values for a cache that others may write to: JSON with a MAC, never pickle.

Without the MAC, a person who can write to the shared cache could make this service run code (unpickling does) or accept any
caller. A sealed value is bound to its key and its expiry, so it can't be moved to another key or restored after it has expired.
A value without a valid MAC counts as absent.

Plain integers have no MAC, because INCR must work on them. Store only counts as plain integers: a forged count can only make
the service refuse too many or too few requests.
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
# The numbers that fit Redis' 64-bit counters. Longer ones would take time to parse.
PLAIN_INTEGER = re.compile(rb"-?\d{1,19}")
ABSENT: Any = object()


def seal(key: str, value: Any, lifetime_s: float | None) -> bytes | int:
    """Return what to store under a key. Without `lifetime_s` it never expires. Raises `TypeError` for values without JSON."""
    # A bool is an int in Python but not in Redis.
    if type(value) is int:
        return value
    ends_at = None if lifetime_s is None else time.time() + lifetime_s
    payload = json.dumps([ends_at, value], separators=(",", ":"), allow_nan=False).encode()
    return _mac(settings.SECRET_KEY, key, payload) + payload


def unseal(key: str, stored: bytes) -> Any:
    """Return the value of a key, or `ABSENT` if this service did not store it there or it has expired."""
    if PLAIN_INTEGER.fullmatch(stored):
        return int(stored)
    mac, payload = stored[:MAC_BYTES], stored[MAC_BYTES:]
    # While SECRET_KEY changes, other nodes may still have the earlier one.
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not any(hmac.compare_digest(mac, _mac(secret, key, payload)) for secret in secrets):
        return ABSENT
    ends_at, value = json.loads(payload)
    return ABSENT if ends_at is not None and ends_at <= time.time() else value


def _mac(secret: str, key: str, payload: bytes) -> bytes:
    return hmac.digest(_mac_key(secret), key.encode() + b"\0" + payload, hashlib.sha256)


@lru_cache(maxsize=8)
def _mac_key(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"chatapi.cache.sealed_values:1", hashlib.sha256)
