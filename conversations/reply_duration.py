"""How long ago the turn of a running reply can have begun."""

from django.conf import settings

# What a reply may take besides `GENERATION_TIMEOUT`: saving its end is retried for a minute, the reply of a dead worker is
# marked or taken over, and a node that still runs may have a longer timeout than this one.
MARGIN_S = 3600


def longest_reply_s() -> int:
    """Return a number of seconds: a conversation whose last turn is older has no running reply.

    Each turn sets `updated_at` to the database's time, whatever begins it. Nothing sets it back.
    """
    return int(settings.GENERATION_TIMEOUT) + MARGIN_S
