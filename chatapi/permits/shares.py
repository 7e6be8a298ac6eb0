"""Rules that share a number of places or bytes among keys."""

from chatapi.permits.permit import Fits, Held


def fair_share(amount: int, *, least: int = 1) -> Fits:
    """Let a key have more only while it holds at most half of what is free.

    So one key alone gets a third, and others still find some. Each gets up to `least`, as long as that much is free.
    """

    def fits(held: Held) -> bool:
        free = amount - held.in_all
        return held.wanted <= free and held.of_key + held.wanted <= max(least, free // 2)

    return fits


def at_most(most: int) -> Fits:
    """Return the rule that each key holds at most this many."""
    return lambda held: held.of_key + held.wanted <= most
