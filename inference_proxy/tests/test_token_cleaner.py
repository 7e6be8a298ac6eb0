"""Tokens as they can be shown and stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.protocols.event_values import TokenCleaner, clean_label

HIGH, LOW = "\ud83d", "\ude00"


def clean(*tokens: str) -> list[str]:
    cleaner = TokenCleaner()
    return [cleaner.clean(token) for token in tokens]


@pytest.mark.parametrize(
    ("tokens", "cleaned"),
    [
        (["plain", "é", "🎈"], ["plain", "é", "🎈"]),
        (["a\x00b", "\x00"], ["ab", ""]),
        ([f"a{HIGH}", f"{LOW}b"], ["a", "😀b"]),
        ([HIGH, "", LOW], ["", "", "😀"]),
        ([HIGH, "\x00", LOW], ["", "", "😀"]),
        ([f"{HIGH}\x00{LOW}"], ["😀"]),
        ([HIGH + LOW], ["😀"]),
        ([f"{HIGH}{LOW}{HIGH}", LOW], ["😀", "😀"]),
        ([HIGH, HIGH, LOW], ["", "", "😀"]),
        ([HIGH, "a", LOW], ["", "a", ""]),
        ([LOW, HIGH, "é"], ["", "", "é"]),
        ([f"a{HIGH}"], ["a"]),
    ],
)
def test_halves_are_joined_and_the_rest_is_removed(tokens: list[str], cleaned: list[str]) -> None:
    assert clean(*tokens) == cleaned


@given(tokens=st.lists(st.text(st.sampled_from("aé🎈\x00\ud83d\ude00\udfff"), max_size=4), max_size=8))
def test_where_the_tokens_are_cut_makes_no_difference(tokens: list[str]) -> None:
    cleaned = "".join(clean(*tokens))
    assert cleaned == "".join(clean("".join(tokens)))
    cleaned.encode()
    assert "\x00" not in cleaned


@pytest.mark.parametrize(
    ("value", "label"),
    [("stop", "stop"), ("s\x00t\ud800op", "stop"), ("x" * 200, "x" * 100), (None, ""), (7, ""), (["stop"], "")],
)
def test_labels_fit_their_column(value: object, label: str) -> None:
    assert clean_label(value) == label
