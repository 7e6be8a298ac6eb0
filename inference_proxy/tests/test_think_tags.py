"""Reasoning between tags, however a server cuts it."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.think_tags import LONGEST_LEAD, ThinkTags

FORM = re.compile(rf"\s{{0,{LONGEST_LEAD}}}<think>\s*(?P<reasoning>.*?)(?:</think>\s*(?P<text>.*))?", re.DOTALL)
PIECES = st.sampled_from(
    ["<think>", "</think>", "<", "</", "think>", " ", "\n", "a", "é🎈", "<th", "ink>", "</t", "</think", ">"]
)


def split_whole(whole: str) -> tuple[str, str]:
    found = FORM.fullmatch(whole)
    return (found["reasoning"], found["text"] or "") if found else ("", whole)


def split_pieces(pieces: list[str]) -> tuple[str, str]:
    tags = ThinkTags()
    parts = [*map(tags.split, pieces), tags.flush()]
    return "".join(reasoning for reasoning, _ in parts), "".join(text for _, text in parts)


WHOLE = " \n<think>\nHm <b>é</b> </thin \n</think>\n\nYes, <think> is a tag.</think>"


@pytest.mark.parametrize("first", range(len(WHOLE) + 1))
def test_tags_are_found_over_every_cut(first: int) -> None:
    expected = ("Hm <b>é</b> </thin \n", "Yes, <think> is a tag.</think>")
    for second in range(first, len(WHOLE) + 1):
        places = [0, first, second, len(WHOLE)]
        assert split_pieces([WHOLE[begin:end] for begin, end in pairwise(places)]) == expected


@given(st.lists(PIECES, max_size=12), st.randoms(use_true_random=False))
def test_a_split_depends_on_the_text_alone(words: list[str], chance) -> None:  # type: ignore[no-untyped-def]
    whole = "".join(words)
    cuts = sorted(chance.sample(range(len(whole) + 1), min(3, len(whole) + 1)))
    pieces = [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)])]
    assert split_pieces(pieces) == split_pieces(list(whole)) == split_whole(whole)


@pytest.mark.parametrize(
    ("whole", "reasoning", "text"),
    [
        ("Hello", "", "Hello"),
        ("  Hello", "", "  Hello"),
        ("<b>Hello</b>", "", "<b>Hello</b>"),
        ("<thinking>no</thinking>", "", "<thinking>no</thinking>"),
        ("<think>no end", "no end", ""),
        ("<think>no end</thi", "no end</thi", ""),
        ("<thi", "", "<thi"),
        ("<think>\n\n</think>\n\nYes", "", "Yes"),
        ("<think></think>", "", ""),
        (" " * LONGEST_LEAD + "<think>a</think>b", "a", "b"),
        (" " * (LONGEST_LEAD + 1) + "<think>a</think>b", "", " " * (LONGEST_LEAD + 1) + "<think>a</think>b"),
    ],
)
def test_what_is_reasoning(whole: str, reasoning: str, text: str) -> None:
    assert split_pieces([whole]) == split_pieces(list(whole)) == (reasoning, text)


def test_ordinary_text_is_not_delayed() -> None:
    tags = ThinkTags()
    assert tags.split("Hi") == ("", "Hi")
    assert tags.is_over


def test_white_space_without_end_is_not_held_back() -> None:
    tags = ThinkTags()
    assert [tags.split(" ") for _ in range(LONGEST_LEAD)] == [("", "")] * LONGEST_LEAD
    assert tags.split(" ") == ("", " " * (LONGEST_LEAD + 1))
