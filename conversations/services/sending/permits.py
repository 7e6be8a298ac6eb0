"""The permits for replies in this worker: MAX_RUNNING_REPLIES, and none for a worker that ends.

A request takes its permit before it waits for anything, so that a burst can't exceed the limit. It is refused only where it
would begin a new reply: a repeated request follows a running one, and needs no permit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from chatapi.incoming.arrival import was_accepted_before_end
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Permit, Permits
from conversations.exceptions import ShuttingDown, TooManyReplies
from conversations.services.replies.store import live_replies

_inherits: ContextVar[bool] = ContextVar("inherits_permit", default=False)
_is_ahead: ContextVar[bool] = ContextVar("ahead_of_queue", default=False)


# Of the requests that may begin a reply and have saved none yet. `live_replies` counts all others.
beginnings = Permits(
    Limit(
        what="running replies",
        per="worker",
        refusal=TooManyReplies,
        # When a client may ask again for a reply that there was no room for.
        retry_after_s=5,
        settings=("MAX_RUNNING_REPLIES",),
    ),
    lambda held: live_replies.has_room(held.in_all),
)


class Beginning:
    """A request that may begin a reply, with its permit. `replies` are the ids that were claimed."""

    def __init__(self, permit: Permit | None) -> None:
        self._permit = permit
        self.replies: list[UUID] = []

    def claim(self, reply_id: UUID) -> None:
        """Use the permit for this reply, just before it is saved. Raises `TooManyReplies`."""
        if self._permit is None:
            raise beginnings.limit.refuse()
        self.replies.append(reply_id)
        # From here on, the reply that is expected counts.
        live_replies.expect(reply_id)
        self._permit.release()


def refuse_while_ending() -> None:
    """Raise `ShuttingDown` in a worker that was told to end: it could not finish a new reply.

    A request that this worker accepted just before gets its reply: the next worker never sees it.
    """
    if live_replies.is_shutting_down and not (was_accepted_before_end() and live_replies.has_time_to_begin):
        raise ShuttingDown(retry_after_s=1)


@contextmanager
def room_for_reply() -> Iterator[Beginning]:
    """Hold a permit for a reply, if there is one, until a reply begins or the block ends. Raises `ShuttingDown`."""
    refuse_while_ending()
    permit = beginnings.hold() if _inherits.get() else beginnings.take()
    try:
        yield Beginning(permit)
    finally:
        if permit is not None:
            permit.release()


def goes_ahead() -> bool:
    """Whether the messages that wait come after this request's: it has stopped a reply for its own, or it can't wait."""
    return _inherits.get() or _is_ahead.get()


@contextmanager
def ahead_of_queue() -> Iterator[None]:
    """Let a request that can't wait begin its reply although messages wait."""
    token = _is_ahead.set(True)
    try:
        yield
    finally:
        _is_ahead.reset(token)


@contextmanager
def inherited_permit() -> Iterator[None]:
    """Let a request begin a reply although no permit is free: it has stopped another one for it."""
    token = _inherits.set(True)
    try:
        yield
    finally:
        _inherits.reset(token)
