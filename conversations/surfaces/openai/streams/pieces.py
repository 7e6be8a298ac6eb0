"""Cut a channel's text into deltas, at places that follow from the text alone.

Principle: a client that replays a response from its beginning, and skips the events up to the last one that it has, must get
exactly the rest. So no delta of a replay may contain text on both sides of a place where an earlier stream was cut. Tokens
can't be the rule, because the row does not know them. The rule here needs only the text and the offset of the piece: a piece is
one character, or more far into the text, and then the rest of the word. Pieces grow with the offset, so that a reply of two
mebicharacters has some ten thousand of them.
"""

import re
from collections.abc import Iterator

# The shortest piece grows by one character each time that this many characters are behind it.
GROWTH = 2048
MOST_OF_A_WORD = 15
# From here on, scripts use few or no spaces, or a token is about one character. Their characters don't wait for the next one.
FIRST_WITHOUT_WORDS = "\u0900"
WORD = re.compile(rf"[^\W{FIRST_WITHOUT_WORDS}-\U0010ffff]*")


def pieces(text: str, offset: int, *, is_whole: bool) -> Iterator[str]:
    """Yield the pieces of a text that begins at this offset of its channel, where a piece begins.

    If more text may come (not `is_whole`), leaves out the last piece as long as its end is not known.
    """
    start = 0
    while start < len(text):
        end = start + (offset + start) // GROWTH + 1
        is_complete = end <= len(text)
        if is_complete and text[end - 1] < FIRST_WITHOUT_WORDS:
            limit = end + MOST_OF_A_WORD
            found = WORD.match(text, end, limit)
            end = found.end() if found else end
            is_complete = end < len(text) or end == limit
        if not (is_complete or is_whole):
            return
        yield text[start:end]
        start = end


def is_cut(text: str, offset: int, *, is_whole: bool) -> bool:
    """Return whether a piece of a channel's text ends at this offset. `is_whole` is as for `pieces`."""
    end = 0
    for piece in pieces(text, 0, is_whole=is_whole):
        end += len(piece)
        if end >= offset:
            return end == offset
    return False
