"""How many streams each user has open in this process, so that one user can't take all of its memory.

A stream uses memory and one of the server's connections as long as its client stays. No other limit applies to streams of
replies that another process makes. The owner of a stream is a user, or the conversation of an anonymous caller.
"""

from django.conf import settings

from chatapi.permits.limit import Limit
from chatapi.permits.permit import Held, Permits
from conversations.exceptions import TooManyStreams

REPLY_STREAMS = Limit(
    what="open streams",
    per="user, in each worker",
    refusal=TooManyStreams,
    retry_after_s=5,
    settings=("USER_MAX_STREAMS",),
)
# Apart from those of replies: a page that listens for changes keeps its stream open all the time.
CHANGE_STREAMS = Limit(
    what="open streams of changes",
    per="user, in each worker",
    refusal=TooManyStreams,
    retry_after_s=5,
    settings=("USER_MAX_CHANGE_STREAMS",),
)


def _reply_stream_fits(held: Held) -> bool:
    return not settings.USER_MAX_STREAMS or held.of_key < settings.USER_MAX_STREAMS


def _change_stream_fits(held: Held) -> bool:
    return not settings.USER_MAX_CHANGE_STREAMS or held.of_key < settings.USER_MAX_CHANGE_STREAMS


open_streams = Permits(REPLY_STREAMS, _reply_stream_fits)
open_change_streams = Permits(CHANGE_STREAMS, _change_stream_fits)
