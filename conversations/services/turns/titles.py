"""Automatic titles."""

import regex

from conversations.models import DEFAULT_TITLE, TitleSource

AUTOMATIC_TITLE_CHARACTERS = 80
# Titles that clients of the predecessor gave to conversations without a name.
UNNAMED_TITLES = frozenset({"", DEFAULT_TITLE.lower(), "new chat", "untitled"})


def is_unnamed_title(title: str | None) -> bool:
    """Return whether clients give this title to conversations without a name."""
    return (title or "").strip().lower() in UNNAMED_TITLES


def is_unnamed(title: str | None, title_source: str) -> bool:
    """Return whether a conversation still has the title that it was created with."""
    return title_source == TitleSource.DEFAULT and is_unnamed_title(title)


def automatic_title(content: str) -> str:
    """Return the beginning of a message as a title: its first 80 characters, cut at a word where that leaves half of them.

    An emoji, for example, may consist of several code points. Such a character is left out rather than cut.
    """
    words = " ".join(content.split())
    if len(words) <= AUTOMATIC_TITLE_CHARACTERS:
        return words
    beginning = words[:AUTOMATIC_TITLE_CHARACTERS]
    if words[AUTOMATIC_TITLE_CHARACTERS] != " ":
        whole_words = beginning.rpartition(" ")[0]
        if len(whole_words) >= AUTOMATIC_TITLE_CHARACTERS // 2:
            return whole_words
    return _whole_clusters(words).rstrip()


def _whole_clusters(text: str) -> str:
    """Return the beginning of a text, cut between two grapheme clusters (Unicode Standard Annex 29)."""
    end = 0
    # Look at more code points than fit, to see where the last cluster ends.
    for cluster in regex.finditer(r"\X", text, endpos=2 * AUTOMATIC_TITLE_CHARACTERS):
        if cluster.end() > AUTOMATIC_TITLE_CHARACTERS:
            break
        end = cluster.end()
    # A single cluster that is longer than a title is cut.
    return text[: end or AUTOMATIC_TITLE_CHARACTERS]
