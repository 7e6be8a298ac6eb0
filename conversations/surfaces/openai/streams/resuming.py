"""Where a stream that is resumed behind an event begins to read the reply.

Principle: a stream that begins at the start of the reply and leaves out the events up to a number is right for every number,
even for one that no event has. To begin at the last delta that the client has is quicker. It is done only where that delta is
known to be one: what a stream must know there follows from its cursor.
"""

from dataclasses import dataclass

from conversations.surfaces.openai.streams.pieces import is_cut
from conversations.surfaces.openai.streams.sequence import Order, Step, place_of
from inference_proxy.replies.frames import START, Cursor


@dataclass(frozen=True, slots=True)
class Said:
    """What a reply consists of, as far as this process knows it."""

    text: str
    reasoning: str
    # How much of the reasoning came before the text, None if all of it did.
    reasoning_before_text: int | None
    has_ended: bool
    # Whether clients may have received more: another process makes the reply.
    may_lag: bool


def cursor_behind(number: int, said: Said) -> Cursor:
    """Return where the frames of a stream behind the event with this number begin."""
    try:
        place = place_of(number)
    except ValueError:
        return START
    if place.step is not Step.DELTA or place.order is not Order.USUAL:
        return START
    return place.cursor if _ends_a_delta(place.cursor, said) else START


def _ends_a_delta(cursor: Cursor, said: Said) -> bool:
    """Return whether a delta ends here, in a stream whose reasoning comes before its text."""
    first = said.reasoning[: said.reasoning_before_text]
    if not cursor.text:
        is_first_whole = said.has_ended or bool(said.text)
        return _is_end(first, cursor.reasoning, is_whole=is_first_whole, may_lag=said.may_lag and not is_first_whole)
    if not said.text and said.may_lag:
        return cursor.reasoning >= len(first)
    is_behind_reasoning = cursor.reasoning == len(first)
    return is_behind_reasoning and _is_end(said.text, cursor.text, is_whole=said.has_ended, may_lag=said.may_lag)


def _is_end(text: str, offset: int, *, is_whole: bool, may_lag: bool) -> bool:
    return is_cut(text, offset, is_whole=is_whole) if offset <= len(text) else may_lag
