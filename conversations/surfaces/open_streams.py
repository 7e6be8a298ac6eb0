"""How many streams each user has open in this process, so that one user can't take all of its memory.

A stream uses memory and one of the server's connections as long as its client stays. No other limit applies to streams of
replies that another process makes. The owner of a stream is a user, or the conversation of an anonymous caller.
"""

from django.conf import settings

from chatapi.permits.limit import Limit
from chatapi.permits.permit import Held, Permits
from conversations.exceptions import TooManyStreams

LIMIT = Limit(
    what="open streams",
    per="user, in each worker",
    refusal=TooManyStreams,
    retry_after_s=5,
    settings=("USER_MAX_STREAMS",),
)


def _fits(held: Held) -> bool:
    return not settings.USER_MAX_STREAMS or held.of_key < settings.USER_MAX_STREAMS


open_streams = Permits(LIMIT, _fits)
