"""How many requests one large request counts as, so that the rates also bound what a user writes per minute."""

MESSAGES_PER_SEND = 20
# Where the texts are in memory already, their characters are counted.
BYTES_PER_SEND = 64 * 1024
CONVERSATIONS_PER_READ = 50


def sends_for(messages: int, size: int, *, messages_per_send: int = MESSAGES_PER_SEND) -> int:
    """Return how many more sends these messages count as, besides the request itself. `size` is the bytes of their texts."""
    return max(messages // messages_per_send, size // BYTES_PER_SEND)


def reads_for(conversations: int) -> int:
    """Return how many more reads a change of these conversations counts as, besides the request itself."""
    return conversations // CONVERSATIONS_PER_READ
