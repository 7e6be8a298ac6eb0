"""The places for replies in this worker: MAX_RUNNING_REPLIES, and none for a worker that ends.

A request takes its place before it waits for anything, so that a burst can't exceed the limit. It is refused only where it
would begin a new reply: a repeated request follows a running one, and needs no place.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from chatapi.incoming.arrival import was_accepted_before_end
from conversations.exceptions import ShuttingDown, TooManyReplies
from conversations.services.replies.store import live_replies

# When a client may ask again for a reply that there was no room for.
RETRY_AFTER_S = 5

_inherits: ContextVar[bool] = ContextVar("inherits_place", default=False)


class _Beginning:
    """How many requests hold a place and have saved no reply yet."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()


_beginning = _Beginning()


class Place:
    """A request's place for the reply that it may begin. `replies` are the ids that were claimed."""

    def __init__(self, *, is_free: bool) -> None:
        self._is_free = is_free
        self._is_counted = is_free
        self.replies: list[UUID] = []

    def claim(self, reply_id: UUID) -> None:
        """Take the place for this reply, just before it is saved. Raises `TooManyReplies`."""
        if not self._is_free:
            raise TooManyReplies(retry_after_s=RETRY_AFTER_S)
        self.replies.append(reply_id)
        # From here on, the reply that is expected holds the place.
        live_replies.expect(reply_id)
        self.leave()

    def leave(self) -> None:
        """Give the place back, unless a reply holds it."""
        if self._is_counted:
            self._is_counted = False
            with _beginning.lock:
                _beginning.count -= 1


def refuse_while_ending() -> None:
    """Raise `ShuttingDown` in a worker that was told to end: it could not finish a new reply.

    A request that this worker accepted just before gets its reply: the next worker never sees it.
    """
    if live_replies.is_shutting_down and not (was_accepted_before_end() and live_replies.has_time_to_begin):
        raise ShuttingDown(retry_after_s=1)


@contextmanager
def room_for_reply() -> Iterator[Place]:
    """Hold a place for a reply, if one is free, until the reply begins or the block ends without one. Raises `ShuttingDown`."""
    refuse_while_ending()
    with _beginning.lock:
        is_free = _inherits.get() or live_replies.has_room(_beginning.count)
        _beginning.count += is_free
    place = Place(is_free=is_free)
    try:
        yield place
    finally:
        place.leave()


@contextmanager
def inherited_place() -> Iterator[None]:
    """Let a request begin a reply although no place is free: it has stopped another one for it."""
    token = _inherits.set(True)
    try:
        yield
    finally:
        _inherits.reset(token)
