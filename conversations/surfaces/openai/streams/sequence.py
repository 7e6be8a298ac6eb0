"""Sequence numbers: the place of an event in its response, from which any process can continue the stream.

Principle: a number is not counted. It is derived from the place, so every process gives an event the same number, whether it
makes the reply or reads the row, and however the text is cut into deltas. Numbers rise strictly, with gaps.

The place has three parts. The first is the cursor: how much of the reply's text and reasoning the client has after the event.
With each delta one of the two grows. So Cantor's pairing function, which numbers pairs by their sum, rises with each delta, and
it has an inverse. The second part is the order of the two output items (see `Order`). The third is the step: the events between
two deltas, in their order. Calls of tools come after all text and reasoning: their events, and the end after them, have cursors
beyond it.

A response of the greatest length, two mebicharacters, stays below 2**48. JavaScript represents such numbers exactly.
"""

from enum import IntEnum
from math import isqrt
from typing import NamedTuple

from inference_proxy.replies.frames import START, Cursor


class Order(IntEnum):
    """Which output item comes first, and whether the model went on to think after its first word."""

    # There is no reasoning, or all of it came before the text.
    USUAL = 0
    # Reasoning came first, and more of it after the text began.
    RESUMED = 1
    # The text began first.
    TEXT_FIRST = 2


class Step(IntEnum):
    CREATED = 0
    IN_PROGRESS = 1
    DELTA = 2
    REASONING_ADDED = 3
    REASONING_PART_ADDED = 4
    REASONING_TEXT_DONE = 5
    REASONING_PART_DONE = 6
    REASONING_DONE = 7
    MESSAGE_ADDED = 8
    MESSAGE_PART_ADDED = 9
    MESSAGE_TEXT_DONE = 10
    MESSAGE_PART_DONE = 11
    MESSAGE_DONE = 12
    # For reasoning that came after the text began.
    LATE_REASONING_TEXT_DONE = 13
    LATE_REASONING_PART_DONE = 14
    LATE_REASONING_DONE = 15
    END = 16
    # Of a call of a tool. Its four events have these steps twice, behind the end of the text: see `ResponseEvents._end`.
    CALL = 17
    CALL_MORE = 18


STEPS = 20
PLACES_AT_A_CURSOR = STEPS * len(Order)
# Larger numbers lose digits in JavaScript, and no event has one.
MAX_NUMBER = 2**53 - 1


class Place(NamedTuple):
    """The place of an event in its response."""

    cursor: Cursor = START
    order: Order = Order.USUAL
    step: Step = Step.CREATED


def number_of(place: Place) -> int:
    text, reasoning = place.cursor.text, place.cursor.reasoning
    length = text + reasoning
    pair = length * (length + 1) // 2 + reasoning
    return pair * PLACES_AT_A_CURSOR + place.order * STEPS + place.step


def place_of(number: int) -> Place:
    """Return the place with this number. Raises `ValueError` if no event can have it."""
    pair, rest = divmod(number, PLACES_AT_A_CURSOR)
    length = (isqrt(8 * pair + 1) - 1) // 2
    reasoning = pair - length * (length + 1) // 2
    order, step = divmod(rest, STEPS)
    return Place(Cursor(length - reasoning, reasoning), Order(order), Step(step))
