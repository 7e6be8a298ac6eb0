"""For how many requests one counts that stores or changes much: so the rates also bound what a user writes per minute."""

MESSAGES_PER_SEND = 20
# Or characters, where they are counted.
BYTES_PER_SEND = 64 * 1024
CONVERSATIONS_PER_READ = 50


def sends_for(messages: int, size: int) -> int:
    """Return for how many sends these messages count, beside the request itself. `size` is that of their texts."""
    return max(messages // MESSAGES_PER_SEND, size // BYTES_PER_SEND)


def reads_for(conversations: int) -> int:
    """Return for how many reads a change of these conversations counts, beside the request itself."""
    return conversations // CONVERSATIONS_PER_READ
