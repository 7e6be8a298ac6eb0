"""A limit on the running replies of anonymous callers, per client address.

Each process counts its own replies, because the database does not store addresses.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID

from django.conf import settings

from chatapi.permits.limit import Limit
from chatapi.permits.permit import Held, Permits
from conversations.exceptions import TooManyGenerations
from conversations.services.replies.store import live_replies

LIMIT = Limit(
    what="running replies of callers without a token",
    per="client address, in each worker",
    refusal=TooManyGenerations,
    retry_after_s=5,
    settings=("ANONYMOUS_MAX_GENERATIONS",),
)


def _fits(held: Held) -> bool:
    return not settings.ANONYMOUS_MAX_GENERATIONS or held.of_key < settings.ANONYMOUS_MAX_GENERATIONS


_replies = Permits(LIMIT, _fits)


@contextmanager
def permit_for_reply(address: str) -> Iterator[Callable[[UUID], None]]:
    """Take a permit for a reply. Raises `TooManyGenerations`.

    The block passes the reply's id to the function that it gets, and the reply then holds the permit as long as it runs.
    Otherwise the permit ends with the block.
    """
    # Nothing else removes replies that have ended.
    _replies.drop_absent()
    permit = _replies.acquire(address)
    begun: list[UUID] = []
    try:
        yield begun.append
    finally:
        if begun:
            permit.is_present = partial(_is_running, begun[0])
        else:
            permit.release()


def _is_running(reply_id: UUID) -> bool:
    generation = live_replies.get(reply_id)
    # A client may send its next message as soon as the stream says that the reply has ended.
    return generation is not None and generation.transcript.closing is None
