"""One thread per user at a time, in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID


class Busy(Exception):
    """The user's other thread did not end in time."""


class OneAtATime:
    """A lock per user."""

    def __init__(self) -> None:
        self._users: set[UUID] = set()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, user_id: UUID, wait_s: float) -> Iterator[None]:
        """Wait until the user's earlier block has ended, and run this one. Raises `Busy` after `wait_s`."""
        with self._changed:
            if not self._changed.wait_for(lambda: user_id not in self._users, wait_s):
                raise Busy
            self._users.add(user_id)
        try:
            yield
        finally:
            with self._changed:
                self._users.discard(user_id)
                self._changed.notify_all()
