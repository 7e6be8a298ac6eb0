"""Names of sessions for a new owner, who may have a session of the same name."""

from collections.abc import Callable, Iterable, Set

from conversations.new_ids import new_id

MAX_CHARACTERS = 200
CHOICES = 50


def free_name(name: str, taken: Callable[[Iterable[str]], Set[str]]) -> str:
    """Return `name.2`, `name.3`, … `taken` says which of some names are used already."""
    choices = [f"{name[: MAX_CHARACTERS - 4]}.{number}" for number in range(2, CHOICES + 2)]
    used = taken(choices)
    # A user who has used them all gets an unused name.
    return next((choice for choice in choices if choice not in used), str(new_id()))
