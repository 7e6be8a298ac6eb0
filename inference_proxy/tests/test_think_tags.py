"""Reasoning between tags, however a server cuts it."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_proxy.protocols.base import new_think_tags
from inference_proxy.protocols.think_tags import LONGEST_LEAD, ThinkTags

FORM = re.compile(rf"\s{{0,{LONGEST_LEAD}}}<think>\s*(?P<reasoning>.*?)(?:</think>\s*(?P<text>.*))?", re.DOTALL)
PIECES = st.sampled_from(
    ["<think>", "</think>", "<", "</", "think>", " ", "\n", "a", "é🎈", "<th", "ink>", "</t", "</think", ">"]
)


STRAY = re.compile(rf"\s{{0,{LONGEST_LEAD}}}</think>(?=[\n\r])\s*(?P<text>.*)", re.DOTALL)


def split_whole(whole: str) -> tuple[str, str]:
    if stray := STRAY.fullmatch(whole):
        return ("", stray["text"])
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
        ("<thinking>Hm</thinking>Yes", "Hm", "Yes"),
        ("[THINK]Hm[/THINK]Yes", "Hm", "Yes"),
        ("<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Yes", "Hm", "Yes"),
        ("<|channel|>analysis<|message|>Hm<|channel|>final<|message|>Yes", "Hm", "Yes"),
        ("<|channel|>final<|message|>Yes", "", "Yes"),
        ("<think> is a tag of DeepSeek.", "", "<think> is a tag of DeepSeek."),
        ("<think> is", "", "<think> is"),
        ("<think> and </think> mark it", "", "<think> and </think> mark it"),
        ("`<think>` opens it", "", "`<think>` opens it"),
        ("<think> Is it?</think>Yes", "Is it?", "Yes"),
        ("</think> closes it", "", "</think> closes it"),
        ("\n\n</think>\n\nYes", "", "Yes"),
        ("</think>", "", "</think>"),
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


@pytest.mark.parametrize(
    ("whole", "reasoning", "text"),
    [
        ("Hm\n</think>\n\nYes", "Hm\n", "Yes"),
        ("<think>\nHm</think>Yes", "Hm", "Yes"),
        ("Hm</thinking>Yes", "Hm", "Yes"),
        ("Yes", "Yes", "Yes"),
        ("<thi", "<thi", "<thi"),
        ("</think>\nYes", "", "Yes"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_reply_that_begins_inside_the_thought(whole: str, reasoning: str, text: str, size: int) -> None:
    tags = ThinkTags(begins_inside=True)
    parts = [tags.split(whole[at : at + size]) for at in range(0, len(whole), size)] + [tags.flush(is_whole=True)]
    assert ("".join(part[0] for part in parts), "".join(part[1] for part in parts)) == (reasoning, text)


@pytest.mark.parametrize(("is_whole", "text"), [(True, "Hm, so"), (False, "")])
def test_a_thought_without_end_is_the_text_of_a_whole_reply(is_whole: bool, text: str) -> None:
    tags = ThinkTags()
    assert tags.split("<think>\nHm, ") == ("Hm, ", "")
    assert tags.split("so</thi") == ("so", "")
    assert tags.flush(is_whole=is_whole) == ("</thi", f"{text}</thi" if is_whole else "")


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("whole", ["</think>\n\nYes", "\n</think>Yes"])
def test_a_stray_closing_tag_after_other_reasoning_is_dropped(whole: str, size: int) -> None:
    tags = ThinkTags()
    tags.has_channel = True
    parts = [tags.split(whole[at : at + size]) for at in range(0, len(whole), size)]
    assert "".join(text for _, text in parts) == "Yes"


def test_a_model_that_begins_inside_may_have_its_thought_taken_out_by_the_service() -> None:
    tags = ThinkTags(begins_inside=True)
    tags.has_channel = True
    assert tags.split("Yes") == ("", "Yes")


def test_ordinary_text_is_not_delayed() -> None:
    tags = ThinkTags()
    assert tags.split("Hi") == ("", "Hi")
    assert tags.is_over


def test_white_space_without_end_is_not_held_back() -> None:
    tags = ThinkTags()
    assert [tags.split(" ") for _ in range(LONGEST_LEAD)] == [("", "")] * LONGEST_LEAD
    assert tags.split(" ") == ("", " " * (LONGEST_LEAD + 1))


@pytest.mark.parametrize(
    ("model", "whole", "reasoning", "text"),
    [
        ("Own-7b", "<hm>Hm</hm>Yes", "Hm", "Yes"),
        ("own-7b", "<think>Hm</think>Yes", "Hm", "Yes"),
        ("own-7b", "<think-more>Hm</done>Yes", "Hm", "Yes"),
        ("other", "<hm>Hm</hm>Yes", "", "<hm>Hm</hm>Yes"),
        ("inside", "Hm</hm>Yes", "Hm", "Yes"),
    ],
)
def test_a_model_may_have_tags_of_its_own(settings: Any, model: str, whole: str, reasoning: str, text: str) -> None:
    settings.INFERENCE_THINK_PAIRS = [
        ["own*", "<hm>", "</hm>"],
        ["own*", "<think-more>", "</done>"],
        ["inside", "<hm>", "</hm>"],
    ]
    settings.INFERENCE_THINK_INSIDE = ["inside"]
    for size in (1, 3, 100):
        tags = new_think_tags(model)
        assert tags is not None
        parts = [tags.split(whole[at : at + size]) for at in range(0, len(whole), size)] + [tags.flush(is_whole=True)]
        assert ("".join(part[0] for part in parts), "".join(part[1] for part in parts)) == (reasoning, text)
