"""Automatic titles, and titles that mean that a conversation has none."""

import unicodedata

import regex
from django.conf import settings

from conversations.models import DEFAULT_TITLE, TitleSource

AUTOMATIC_TITLE_CHARACTERS = 80
# Titles that clients of the predecessor gave to conversations without a name. UNNAMED_TITLES adds those of other front-ends.
UNNAMED = frozenset({"", DEFAULT_TITLE.lower(), "new chat", "untitled"})

# A title shows the beginning of a message only.
MOST_READ = 4_000
# The commands of terminals, and characters that are invisible or change the direction of the text around them. The joiners of
# emoji and of Persian stay.
UNSAFE = regex.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\p{Cc}--[\s]]|[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]",
    regex.V1,
)
FENCE = regex.compile(r"^[ \t]*(?:```+|~~~+)[^\n`]*$", regex.MULTILINE)
LINE_MARK = regex.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+(?:\[[ xX]\][ \t]+)?)+", regex.MULTILINE)
TAG = regex.compile(r"</?[A-Za-z][^<>\n]{0,200}>|<!--.*?-->", regex.DOTALL)
LINK = regex.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\)")
# What models write around a title although they are told not to.
TITLE_MARK = regex.compile(r"^(?:title|titel|titre|título|titolo)\s*:\s*", regex.IGNORECASE)
QUOTES = " \t\"'“”„«»‘’「」『』`*."
MOST_TITLE_WORDS = 8
EMPHASIS = regex.compile(r"(\*\*|__|~~|`+)(?=\S)(.+?)(?<=\S)\1")


def is_unnamed_title(title: str | None) -> bool:
    """Return whether clients give this title to conversations without a name."""
    name = _comparable(title or "")
    return name in UNNAMED or any(name == _comparable(one) for one in settings.UNNAMED_TITLES)


def _comparable(title: str) -> str:
    return unicodedata.normalize("NFC", title).strip().lower()


def is_unnamed(title: str | None, title_source: str) -> bool:
    """Return whether a conversation still has the title that it was created with."""
    return title_source == TitleSource.DEFAULT and is_unnamed_title(title)


def automatic_title(content: str) -> str:
    """Return the beginning of a message as a title: its first 80 characters, cut at a word where that leaves half of them.

    Markup, control characters and direction marks are left out. An emoji, for example, may consist of several code points. Such
    a character is left out rather than cut.
    """
    words = _plain(content) or DEFAULT_TITLE
    if len(words) <= AUTOMATIC_TITLE_CHARACTERS:
        return words
    beginning = words[:AUTOMATIC_TITLE_CHARACTERS]
    if words[AUTOMATIC_TITLE_CHARACTERS] != " ":
        whole_words = beginning.rpartition(" ")[0]
        if len(whole_words) >= AUTOMATIC_TITLE_CHARACTERS // 2:
            return whole_words
    return _whole_clusters(words).rstrip()


def brief_title(answer: str) -> str:
    """Return a model's answer as a title: its first line with words, without quotation marks, up to 8 words. "" if it has none.

    It is cleaned and cut like an automatic title.
    """
    lines = (TITLE_MARK.sub("", _plain(line)).strip(QUOTES) for line in answer[:MOST_READ].splitlines())
    line = next((line for line in lines if any(map(str.isalnum, line))), "")
    return automatic_title(" ".join(line.split()[:MOST_TITLE_WORDS])).strip(QUOTES) if line else ""


def _plain(content: str) -> str:
    """Return the words of a message's beginning, without markup."""
    safe = UNSAFE.sub("", content.lstrip()[:MOST_READ])
    plain = TAG.sub(" ", FENCE.sub("", safe))
    plain = EMPHASIS.sub(r"\2", LINK.sub(r"\1", LINE_MARK.sub("", plain)))
    # A message that is nothing but markup shows it.
    return " ".join(plain.split()) or " ".join(safe.split())


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
