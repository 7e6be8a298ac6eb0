"""The part of a text that shows why it was found, with its matches marked.

PostgreSQL's `ts_headline` splits texts into other words than `search_text` does, so the matches are looked for here, in the
text as it was written. Each character, with its marks, is folded on its own: NFKC, lower case, no format characters.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import regex

from conversations.services.search.words import UNSPACED

# They surround a match in a snippet. Both are removed from the text first.
MATCH_START, MATCH_STOP = "\x02", "\x03"
SNIPPET_CHARACTERS = 200
# How much of it is before the first match.
BEFORE = 60
CHARACTER = regex.compile(r"\X")
# What `search_text` leaves out.
UNSEEN = regex.compile(
    r"[\p{Cf}\p{Default_Ignorable_Code_Point}\p{Emoji_Modifier}\u0307\u0640\u064b-\u065f\u0670[\p{script=Hebrew}&&\p{Mn}]]",
    regex.V1,
)
FOLDED = str.maketrans("ςı", "σi")
WORD = r"[\p{L}\p{M}\p{N}]"


def make_snippet(text: str, wanted: Sequence[str], *, ends_open: bool = False) -> str:
    """Return the part of a text around its first match; MATCH_START and MATCH_STOP surround each match.

    `wanted` are normalised words. If `ends_open`, the last one may be the beginning of a word.
    """
    text = text.replace(MATCH_START, "").replace(MATCH_STOP, "")
    matches = _find(text, wanted, ends_open=ends_open)
    first = matches[0][0] if matches else 0
    start = _start(text, max(0, first - BEFORE), first)
    end = start + SNIPPET_CHARACTERS
    parts, place = [], start
    for begin, stop in matches:
        if begin >= end:
            break
        parts += [text[place:begin], MATCH_START, text[begin : min(stop, end)], MATCH_STOP]
        place = min(stop, end)
    return "".join([*parts, text[place:end]])


def _start(text: str, start: int, first: int) -> int:
    """Begin at a word, where there is one."""
    space = text.find(" ", start, first)
    return space + 1 if start and space >= 0 else start


def _find(text: str, wanted: Sequence[str], *, ends_open: bool) -> list[tuple[int, int]]:
    if not wanted:
        return []
    folded, places = _fold(text)
    words = list(dict.fromkeys(wanted))
    last = wanted[-1] if ends_open else None
    whole = regex.compile("|".join(_pattern(word, is_open=word == last) for word in sorted(words, key=len, reverse=True)))
    return [(places[match.start()], places[match.end()]) for match in whole.finditer(folded) if match.end() > match.start()]


def _pattern(word: str, *, is_open: bool) -> str:
    escaped = regex.escape(word)
    if UNSPACED.match(word) or not word[0].isalnum():
        return str(escaped)
    # A word ends where an unspaced script begins, too.
    letter = f"(?:(?!{UNSPACED.pattern}){WORD})"
    return f"(?<!{letter}){escaped}{f'{letter}*' if is_open else f'(?!{letter})'}"


def _fold(text: str) -> tuple[str, Sequence[int]]:
    """Return the folded text and, for each of its characters and its end, the place in the text."""
    if text.isascii():
        return text.lower(), range(len(text) + 1)
    pieces, places, place = [], [], 0
    for character in CHARACTER.findall(text):
        piece = _fold_character(character)
        pieces.append(piece)
        places += [place] * len(piece)
        place += len(character)
    return "".join(pieces), [*places, place]


@lru_cache(maxsize=8192)
def _fold_character(character: str) -> str:
    if len(character) == 1 and ord(character) < 128:
        return character.lower()
    if character == "№":
        return "no "
    return str(UNSEEN.sub("", unicodedata.normalize("NFKC", character).lower())).translate(FOLDED)
