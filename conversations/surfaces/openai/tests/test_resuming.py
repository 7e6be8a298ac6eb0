"""Where a resumed stream begins: at the delta that the client has, or at the start of the reply."""

import pytest

from conversations.surfaces.openai.streams.resuming import Said, cursor_behind
from conversations.surfaces.openai.streams.sequence import Order, Place, Step, number_of
from inference_proxy.replies.frames import START, Cursor

ENDED = Said("one two", "hm so", None, has_ended=True, may_lag=False)
LAGGING = Said("one two", "hm so", None, has_ended=False, may_lag=True)
NOT_YET_SAID = Said("", "hm so", None, has_ended=False, may_lag=True)
# The last three characters of the reasoning came after the text began.
RESUMED = Said("one two", "hm so", 2, has_ended=True, may_lag=False)


def delta(text: int, reasoning: int, order: Order = Order.USUAL) -> int:
    return number_of(Place(Cursor(text, reasoning), order, Step.DELTA))


@pytest.mark.parametrize(
    ("said", "cursor"),
    [
        (ENDED, Cursor(0, 2)),
        (ENDED, Cursor(3, 5)),
        (ENDED, Cursor(7, 5)),
        (RESUMED, Cursor(3, 2)),
        (LAGGING, Cursor(3, 5)),
        (LAGGING, Cursor(20, 5)),
        (NOT_YET_SAID, Cursor(0, 9)),
        (NOT_YET_SAID, Cursor(4, 9)),
    ],
)
def test_behind_a_delta(said: Said, cursor: Cursor) -> None:
    assert cursor_behind(delta(*cursor[:2]), said) == cursor


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (ENDED, 0),
        (ENDED, number_of(Place(Cursor(7, 5), Order.USUAL, Step.END))),
        (ENDED, number_of(Place(Cursor(3, 5), Order.USUAL, Step.END))),
        (ENDED, number_of(Place(Cursor(8, 5), Order.USUAL, Step.CALL))),
        (ENDED, 19),  # no step
        (ENDED, delta(2, 5)),  # inside of a word
        (ENDED, delta(3, 2)),  # inside of the reasoning
        (ENDED, delta(8, 5)),  # behind the end
        (ENDED, delta(0, 1)),
        (ENDED, delta(7, 5, Order.RESUMED)),
        (RESUMED, delta(3, 5)),
        (LAGGING, delta(7, 5)),  # the word may go on
        (LAGGING, delta(3, 9)),
        (NOT_YET_SAID, delta(4, 2)),
    ],
)
def test_behind_anything_else(said: Said, number: int) -> None:
    assert cursor_behind(number, said) == START
