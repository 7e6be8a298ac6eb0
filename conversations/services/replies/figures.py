"""What metrics show of this process's replies."""

from prometheus_client import Gauge

from conversations.services.replies.follow import reply_poller
from conversations.services.replies.store import live_replies

_running_replies = Gauge("chat_running_replies", "Replies being generated.", multiprocess_mode="livesum")
_followers = Gauge(
    "chat_followers",
    "Open streams and requests that follow a reply: from the memory of its worker, or from its row.",
    ["source"],
    multiprocess_mode="livesum",
)
_followers_from_memory = _followers.labels("memory")
_followers_from_row = _followers.labels("row")


def sample_replies() -> None:
    """Set the gauges of running replies and their followers."""
    running = live_replies.running()
    _running_replies.set(len(running))
    _followers_from_memory.set(sum(generation.transcript.follower_count for generation in running))
    _followers_from_row.set(reply_poller.follower_count)
