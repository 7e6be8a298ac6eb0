"""Values for a cache that others may write to: signed JSON, never pickle.

Without the signature, a person who can write to the shared cache could make this service run code (unpickling does) or accept
any caller. A sealed value is bound to its key and its expiry, so it can't be moved to another key or restored after it has
expired. A value without a valid signature counts as absent.
"""

import json
import time
from typing import Any

from django.core.signing import BadSignature, Signer

ABSENT: Any = object()


def seal(key: str, value: Any, lifetime_s: float | None) -> bytes:
    """Return what to store under a key. Without `lifetime_s` it never expires. Raises `TypeError` for values without JSON."""
    ends_at = None if lifetime_s is None else time.time() + lifetime_s
    # Compact, and not in Base64: a script of the server finds the user's id in it (see `rates.READ_AND_TAKE_PLACE`).
    payload = json.dumps([ends_at, value], separators=(",", ":"), allow_nan=False)
    return _signer_of(key).sign(payload).encode()


def unseal(key: str, stored: bytes) -> Any:
    """Return the value of a key, or `ABSENT` if this service did not store it there or it has expired."""
    try:
        ends_at, value = json.loads(_signer_of(key).unsign(stored.decode()))
    except (BadSignature, UnicodeDecodeError):
        return ABSENT
    return ABSENT if ends_at is not None and ends_at <= time.time() else value


def _signer_of(key: str) -> Signer:
    # With SECRET_KEY_FALLBACKS: while SECRET_KEY changes, other nodes may still have the earlier one.
    return Signer(salt=f"chatapi.cache.sealed_values:{key}")
