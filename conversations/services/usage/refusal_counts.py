"""How many requests of each user were refused, counted in this process until somebody takes the counts.

Only requests whose user is known are counted. A request without a valid token has no user.
"""

import threading

# Users beyond this number are not counted until the counts are taken.
MOST_USERS = 10_000
TOO_MANY = 429

_lock = threading.Lock()
# Of each user: requests over a limit, and others that were refused.
_counts: dict[str, tuple[int, int]] = {}


def note_refused(user_id: str, status: int) -> None:
    """Count a request that was answered with this status (400 to 499)."""
    if not user_id or user_id.startswith("staff-"):
        return
    is_limited = status == TOO_MANY
    _add(user_id, int(is_limited), int(not is_limited))


def take_refused() -> list[tuple[str, int, int]]:
    """Return and forget `(user id, over a limit, refused otherwise)`."""
    global _counts
    with _lock:
        taken, _counts = _counts, {}
    return [(user_id, *counts) for user_id, counts in taken.items()]


def give_refused_back(taken: list[tuple[str, int, int]]) -> None:
    """Count again what was taken and not used."""
    for user_id, limited, other in taken:
        _add(user_id, limited, other)


def _add(user_id: str, limited: int, other: int) -> None:
    with _lock:
        if user_id in _counts or len(_counts) < MOST_USERS:
            known_limited, known_other = _counts.get(user_id, (0, 0))
            _counts[user_id] = known_limited + limited, known_other + other
