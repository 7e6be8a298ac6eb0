"""Sequence numbers rise with every event, and each leads back to its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.surfaces.openai.streams.sequence import Order, Place, Step, number_of, place_of
from inference_proxy.replies.frames import Cursor

LONGEST = 2 * 1024 * 1024
LENGTHS = st.integers(0, LONGEST)
CURSORS = st.builds(Cursor, LENGTHS, LENGTHS, st.just(0))
PLACES = st.builds(Place, CURSORS, st.sampled_from(Order), st.sampled_from(Step))


@given(PLACES)
def test_a_number_leads_back_to_its_place(place: Place) -> None:
    assert place_of(number_of(place)) == place


@given(PLACES, st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(Order), st.sampled_from(Step))
def test_numbers_rise_with_either_channel(place: Place, text: int, reasoning: int, order: Order, step: Step) -> None:
    cursor = Cursor(place.cursor.text + text, place.cursor.reasoning + reasoning)
    later = Place(cursor, order, step)
    if cursor != place.cursor or (order, step) > (place.order, place.step):
        assert number_of(later) > number_of(place)


def test_numbers_are_exact_in_javascript() -> None:
    assert number_of(Place(Cursor(LONGEST, LONGEST), Order.TEXT_FIRST, Step.END)) < 2**53


def test_the_first_numbers_are_small() -> None:
    assert [number_of(Place(step=step)) for step in (Step.CREATED, Step.IN_PROGRESS)] == [0, 1]


@pytest.mark.parametrize("number", [19, 39, 59, 60 * 7 + 19])
def test_a_number_between_the_steps_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="not a valid"):
        place_of(number)
