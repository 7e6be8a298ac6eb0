"""What a search asks for: the query, as PostgreSQL's `tsquery`.

`search_text` in the database gives texts and queries the same words (see migration 0035). The indexed words have no positions,
so a query has two forms. `loose` asks for all words of a phrase, anywhere: an index answers it exactly, without reading a row.
`exact` asks for them side by side, and is checked in the few rows that may be the result.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

# A phrase or a word, after one minus sign if it is unwanted. Two or more are those of an option: `git push --force`.
TERM = re.compile(r'(?:(?<!\S)(?P<without>-)(?=[^\s-]))?(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')
NORMALIZE_SQL = "SELECT search_text(term) FROM unnest(%(terms)s::text[]) WITH ORDINALITY AS asked (term, place) ORDER BY place"
# Scripts without spaces between words, and Korean: UNSPACED of migration 0035.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1980-\u19df\u1a20-\u1a9f\u3005-\u3007\u3031-\u3035\u3040-\u30ff\u3105-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua48f\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7a3\uf900-\ufaff]"
)
# The number of a version. Texts write it with or without a v.
VERSION = re.compile(r"\d+\.\d")
LIKE_SIGNS = re.compile(r"[%_\\]")
# PostgreSQL refuses an operand over 2,046 bytes. The indexed words are no longer than this, either.
MOST_CHARACTERS = 200

# Runs a statement and returns its rows.
Fetch = Callable[[str, dict[str, Any]], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Words:
    """A query that names at least one word.

    `exact` is None if `loose` says the same. `wanted` are the normalised words to mark; a run of an unspaced script is one.
    """

    loose: str
    exact: str | None
    wanted: tuple[str, ...]
    # Patterns of LIKE for the phrases as they were typed, in lower case: a text with all words and with these is a match. None:
    # that would not be enough, because of an alternative or an unwanted word.
    typed: list[str] | None
    # Of the last one, the beginning is enough.
    ends_open: bool
    # What an index looks up: for each alternative, of each term (a word, a phrase, a URL) the operands that must all be there.
    lookups: tuple[tuple[tuple[str, ...], ...], ...]
    # If the last word is a letter so far: its operand, and the query with a `loose` that does not have it. Half of all messages
    # may have a word with that letter, and the index would read them all.
    letter: str | None = None
    without_letter: "Words | None" = None

    @property
    def is_one_term(self) -> bool:
        return len(self.lookups) == 1 and len(self.lookups[0]) == 1


@dataclass(frozen=True, slots=True)
class _Term:
    typed: str
    pieces: tuple[str, ...]
    is_unwanted: bool
    is_open: bool

    @property
    def with_v(self) -> str:
        """The first word as it is in a text that writes a v before this number; "" if this is no number of a version."""
        return f"v{self.pieces[0]}" if VERSION.match(self.typed) and len(self.pieces) > 1 else ""


def read_words(text: str, fetch: Fetch) -> Words | None:
    """Read a query: all words must be there; "…" is a phrase, - means without, or. Return None if it names no word.

    The last word may go on, unless it is in a finished phrase, unwanted, or a single letter on its own.
    """
    found = [match for match in TERM.finditer(text) if match["phrase"] is not None or match["word"]]
    if not found:
        return None
    normalized = [
        row[0] for row in fetch(NORMALIZE_SQL, {"terms": [match["phrase"] or match["word"] or "" for match in found]})
    ]
    alternatives: list[list[_Term]] = [[]]
    for match, words in zip(found, normalized, strict=True):
        if len(found) > 1 and match["word"] and not match["without"] and match["word"].lower() == "or":
            alternatives.append([])
        elif pieces := tuple(_pieces(words)):
            is_last = match.end() == len(text) and match["word"] is not None and not match["without"]
            is_open = is_last and (len(found) > 1 or len(pieces) > 1 or len(pieces[0]) > 1)
            typed = (match["phrase"] or match["word"] or "").lower()
            alternatives[-1].append(_Term(typed, pieces, match["without"] is not None, is_open))
    return _words([terms for terms in alternatives if terms])


def _words(alternatives: list[list[_Term]]) -> Words | None:
    if not alternatives:
        return None
    words = _combine(alternatives, None)
    begun = _begun_with_a_letter(alternatives[-1])
    if begun is None:
        return words
    return replace(words, letter=_operands(begun)[-1], without_letter=_combine(alternatives, begun))


def _combine(alternatives: list[list[_Term]], begun: _Term | None) -> Words:
    """Return the query. The index is not asked for the last word of the term `begun`."""
    terms = [term for terms in alternatives for term in terms]
    looked_up = [[(term, _operands(term)[: -1 if term is begun else None]) for term in terms] for terms in alternatives]
    loose = [_all(_loose(*pair) for pair in pairs if pair[1]) for pairs in looked_up]
    exact = " | ".join(_all(_exact(term) for term in terms) for terms in alternatives)
    wanted = [word for term in terms if not term.is_unwanted for word in (term.with_v, *term.pieces) if word]
    typed = [term.typed for term in terms if len(_sequence(term)) > 1]
    if begun is not None and len(begun.pieces) == 1:
        # A word that begins with this letter.
        typed.append(f" {begun.pieces[0]}")
    is_plain = len(alternatives) == 1 and not any(term.is_unwanted for term in terms)
    return Words(
        loose=" | ".join(loose),
        exact=exact if typed else None,
        typed=["%" + LIKE_SIGNS.sub(r"\\\g<0>", text) + "%" for text in typed] if is_plain else None,
        wanted=tuple(wanted),
        ends_open=terms[-1].is_open,
        lookups=tuple(tuple(operands for term, operands in pairs if operands and not term.is_unwanted) for pairs in looked_up),
    )


def _begun_with_a_letter(terms: list[_Term]) -> _Term | None:
    """Return the last term, if its last word has one letter so far and something else is wanted too."""
    last = terms[-1]
    letter = last.pieces[-1]
    is_letter = last.is_open and len(letter) == 1 and letter.isalnum() and not UNSPACED.match(letter)
    has_others = len(last.pieces) > 1 or any(not term.is_unwanted for term in terms[:-1])
    return last if is_letter and has_others else None


def _pieces(words: str) -> Iterator[str]:
    """Yield the words of a normalised text, with the runs of unspaced scripts put together again: 你 你好 好 becomes 你好."""
    run = ""
    for word in words.split():
        if not UNSPACED.match(word):
            yield word[:MOST_CHARACTERS]
        elif not run:
            run = word
        elif len(word) > 1:
            run += word[1]
        else:
            yield run
            run = ""


def _loose(term: _Term, operands: Sequence[str]) -> str:
    # Without positions no unwanted phrase is certain, so PostgreSQL keeps all rows here, and `exact` decides.
    return _exact(term) if term.is_unwanted else _all(operands)


def _operands(term: _Term) -> tuple[str, ...]:
    return tuple(operand for place, piece in enumerate(term.pieces) for operand in _lookups(term, place, piece))


def _lookups(term: _Term, place: int, piece: str) -> list[str]:
    """Return the operands that find a piece wherever it is."""
    if not UNSPACED.match(piece):
        operand = _operand(piece, is_open=term.is_open and place == len(term.pieces) - 1)
        return [f"({operand} | {_operand(term.with_v)})" if place == 0 and term.with_v else operand]
    if len(piece) == 1:
        return [_operand(piece, is_open=True)]
    return [_operand(first + second) for first, second in pairwise(piece)]


def _exact(term: _Term) -> str:
    return f"{'!' if term.is_unwanted else ''}{_phrase(_sequence(term))}"


def _phrase(sequence: list[str]) -> str:
    return f"({' <-> '.join(sequence)})"


def _sequence(term: _Term) -> list[str]:
    """Return the operands that must follow one another. A run of an unspaced script may begin and end within a longer one."""
    last = len(term.pieces) - 1
    sequence: list[str] = []
    for place, piece in enumerate(term.pieces):
        if not UNSPACED.match(piece) or last == 0:
            sequence += _lookups(term, place, piece)
            continue
        first_word = [_operand(piece[0])] if place > 0 else []
        last_word = [_operand(piece[-1])] if place < last else []
        sequence += [*first_word, *[_operand(one + two) for one, two in pairwise(piece)], *last_word]
    return sequence


def _all(operands: Iterable[str]) -> str:
    return f"({' & '.join(operands)})"


def _operand(word: str, *, is_open: bool = False) -> str:
    quoted = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}'{':*' if is_open else ''}"
