"""How many connections of the pool one user's requests hold at once.

Requests for a row that is locked wait with a connection in hand. Without a limit, one user with a locked conversation would
take the whole pool, and every request of everybody else would fail.
"""

import threading

# Of the pool.
SHARE = 1 / 3
# So that two requests of a user, a list beside a send for example, never wait for each other.
LEAST = 2


class UserShares:
    """The connections that each user holds, of a pool of `pool_size`."""

    def __init__(self, pool_size: int) -> None:
        self._most = max(LEAST, int(pool_size * SHARE))
        self._lock = threading.Lock()
        # Each user's places, and how many threads hold one or wait for one.
        self._users: dict[str, tuple[threading.Semaphore, int]] = {}

    def take(self, user: str, wait_s: float) -> bool:
        """Wait for a place. Return whether there is one."""
        with self._lock:
            places, count = self._users.get(user) or (threading.Semaphore(self._most), 0)
            self._users[user] = (places, count + 1)
        has_place = False
        try:
            has_place = places.acquire(timeout=wait_s)
        finally:
            if not has_place:
                self._leave(user)
        return has_place

    def give_back(self, user: str) -> None:
        with self._lock:
            places, _ = self._users[user]
        places.release()
        self._leave(user)

    def _leave(self, user: str) -> None:
        with self._lock:
            places, count = self._users[user]
            if count > 1:
                self._users[user] = (places, count - 1)
            else:
                del self._users[user]
