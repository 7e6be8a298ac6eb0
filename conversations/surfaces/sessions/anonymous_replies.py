"""A limit on the running replies of anonymous callers, per client address.

Each process counts its own replies, because the database does not store addresses.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from django.conf import settings

from conversations.exceptions import TooManyGenerations
from conversations.services.replies.store import live_replies

RETRY_AFTER_S = 5

_lock = threading.Lock()
# The address of each running reply, and of each place for a reply that is about to begin.
_addresses: dict[UUID, str] = {}
_places: set[UUID] = set()


@contextmanager
def place_for_reply(address: str) -> Iterator[Callable[[UUID], None]]:
    """Take a place for a reply. The block passes the reply's id to the function that it gets; otherwise the place becomes free.

    Raises `TooManyGenerations`.
    """
    place = uuid4()
    with _lock:
        for reply_id in [taken for taken in _addresses if taken not in _places and not _is_running(taken)]:
            del _addresses[reply_id]
        if 0 < settings.ANONYMOUS_MAX_GENERATIONS <= sum(taken_by == address for taken_by in _addresses.values()):
            raise TooManyGenerations(retry_after_s=RETRY_AFTER_S)
        _addresses[place] = address
        _places.add(place)
    begun: list[UUID] = []
    try:
        yield begun.append
    finally:
        with _lock:
            _places.discard(place)
            del _addresses[place]
            _addresses.update(dict.fromkeys(begun, address))


def _is_running(reply_id: UUID) -> bool:
    generation = live_replies.get(reply_id)
    # A client may send its next message as soon as the stream says that the reply has ended.
    return generation is not None and generation.transcript.closing is None
