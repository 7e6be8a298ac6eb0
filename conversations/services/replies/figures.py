"""What metrics show of this process's replies."""

from chatapi.observability import metrics
from conversations.services.replies.follow import reply_poller
from conversations.services.replies.store import live_replies

_followers_from_memory = metrics.followers.labels("memory")
_followers_from_row = metrics.followers.labels("row")


def sample_replies() -> None:
    """Set the gauges of running replies and their followers."""
    running = live_replies.running()
    metrics.running_replies.set(len(running))
    _followers_from_memory.set(sum(generation.transcript.follower_count for generation in running))
    _followers_from_row.set(reply_poller.follower_count)
