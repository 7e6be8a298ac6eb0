"""Pieces: the same cuts however the text arrives, and wherever the reader begins."""

import pytest

from conversations.surfaces.openai.streams.pieces import GROWTH, MOST_OF_A_WORD, pieces

TEXTS = [
    "",
    "a",
    "Don't panic: 42 is the answer.\n\n```py\nprint('x')\n```  \n",
    "größer, naïve, Ελλάδα",
    "你好，世界。 日本語 नमस्ते 👩‍👩‍👧 end",
    "a" * (3 * MOST_OF_A_WORD + 5),
]
FAR = 9 * GROWTH - 7


def arriving(tokens: list[str], offset: int) -> list[str]:
    held, found = "", []
    for place, token in enumerate([*tokens, ""]):
        held += token
        new = list(pieces(held, offset, is_whole=place == len(tokens)))
        taken = sum(map(len, new))
        held, offset = held[taken:], offset + taken
        found += new
    return found


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("offset", [0, FAR])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
def test_the_cuts_do_not_depend_on_how_the_text_arrives(text: str, offset: int, size: int) -> None:
    tokens = [text[start : start + size] for start in range(0, len(text), size)]
    found = arriving(tokens, offset)
    assert "".join(found) == text
    assert found == list(pieces(text, offset, is_whole=True))


@pytest.mark.parametrize("text", TEXTS)
def test_a_reader_that_begins_at_a_cut_finds_the_same_cuts(text: str) -> None:
    found = list(pieces(text, 0, is_whole=True))
    for count in range(len(found)):
        offset = len("".join(found[:count]))
        assert list(pieces(text[offset:], offset, is_whole=True)) == found[count:]


def test_words_stay_whole_and_characters_without_words_do_not_wait() -> None:
    assert list(pieces("Hello big world", 0, is_whole=False)) == ["Hello", " big"]
    assert list(pieces("你好", 0, is_whole=False)) == ["你", "好"]


def test_a_long_reply_has_a_bounded_number_of_pieces() -> None:
    assert len(list(pieces("word " * 400_000, 0, is_whole=True))) < 15_000
