"""How many streams each user has open in this process, so that one user can't take all of its memory.

A stream uses memory and one of the server's connections as long as its client stays. No other limit applies to streams of
replies that another process makes.
"""

import threading
from uuid import UUID

from django.conf import settings

from conversations.exceptions import TooManyStreams
from inference_proxy.replies.presence import Presence

RETRY_AFTER_S = 5


class Place:
    """One open stream. It may be closed twice."""

    def __init__(self, streams: "OpenStreams", owner_id: UUID, is_present: Presence) -> None:
        self._streams = streams
        self._owner_id = owner_id
        self.is_present = is_present

    def close(self) -> None:
        self._streams.give_back(self._owner_id, self)


class OpenStreams:
    """The open streams of this process by their owner: a user, or the conversation of an anonymous caller."""

    def __init__(self) -> None:
        self._places: dict[UUID, set[Place]] = {}
        self._lock = threading.Lock()

    def refuse_too_many(self, owner_id: UUID) -> None:
        """Raises `TooManyStreams` if an owner has USER_MAX_STREAMS open streams."""
        if 0 < settings.USER_MAX_STREAMS <= self._count(owner_id):
            raise TooManyStreams(retry_after_s=RETRY_AFTER_S)

    def take(self, owner_id: UUID, is_present: Presence, *, limited: bool = True) -> Place:
        """Count another stream. Raises `TooManyStreams` unless `limited` is false."""
        place = Place(self, owner_id, is_present)
        with self._lock:
            if limited:
                self.refuse_too_many(owner_id)
            self._places.setdefault(owner_id, set()).add(place)
        return place

    def give_back(self, owner_id: UUID, place: Place) -> None:
        with self._lock:
            places = self._places.get(owner_id, set())
            places.discard(place)
            if not places:
                self._places.pop(owner_id, None)

    def _count(self, owner_id: UUID) -> int:
        places = tuple(self._places.get(owner_id, ()))
        if len(places) < settings.USER_MAX_STREAMS:
            return len(places)
        # The server may not have noticed yet that some clients left.
        return sum(place.is_present() for place in places)


open_streams = OpenStreams()
