"""Automatic titles, and titles that mean that a conversation has none."""

import unicodedata

import regex
from django.conf import settings

from conversations.models import DEFAULT_TITLE, TitleSource
from conversations.visible_text import is_blank

AUTOMATIC_TITLE_CHARACTERS = 80
# Titles that clients of the predecessor gave to conversations without a name. UNNAMED_TITLES adds those of other front-ends.
UNNAMED = frozenset({DEFAULT_TITLE.lower(), "new chat", "untitled"})

# A title shows the beginning of a message only.
MOST_READ = 4_000
# The commands of terminals: with parameters, with a text of their own (such as a window's title), and others.
COMMAND = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|\x1b[ -/]*[0-~]"
)
# What shapes emoji and the letters of several scripts.
SHAPING = r"\u200c\u200d\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0020-\U000e007f\U000e0100-\U000e01ef"
# Tags are a part of some flags. Elsewhere they hide text.
TAGS = r"(?<!\U0001f3f4[\U000e0020-\U000e007f]{0,7})[\U000e0020-\U000e007f]"
# Besides commands, characters that are invisible or change the direction of the text around them.
UNSAFE = regex.compile(
    rf"{COMMAND}|[\p{{Cc}}--[\s]]|[[\p{{Default_Ignorable_Code_Point}}\ufff9-\ufffb]--[{SHAPING}]]|{TAGS}", regex.V1
)
FENCE = regex.compile(r"^[ \t]*(?:```+|~~~+)[^\n`]*$", regex.MULTILINE)
# A line, also below a heading or in a table.
RULE = regex.compile(r"^[ \t]*(?:[-=*_|:][ \t]*){3,}$", regex.MULTILINE)
LINE_MARK = regex.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+(?:\[[ xX]\][ \t]+)?)+", regex.MULTILINE)
TAG = regex.compile(r"</?[A-Za-z][^<>\n]{0,200}>|<!--.*?-->", regex.DOTALL)
LINK = regex.compile(r"!?\[([^\[\]\n]*)\](?:\((?:<[^<>\n]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)|\[[^\[\]\n]*\])")
# What models write around a title although they are told not to.
TITLE_MARK = regex.compile(r"^(?:title|titel|titre|título|titolo)\s*:\s*", regex.IGNORECASE)
QUOTES = " \t\"'“”„«»‘’「」『』`*."
MOST_TITLE_WORDS = 8
EMPHASIS = regex.compile(r"(\*{2,3}|__|~~|`+)(?=\S)(.{1,80}?)(?<=\S)\1")
# One sign alone may also be a part of a name or of a calculation.
LIGHT_EMPHASIS = regex.compile(r"(?<![\w*])([*_])(?=[^\s*_])(.{1,80}?)(?<=[^\s*_])\1(?![\w*])")


def is_unnamed_title(title: str | None) -> bool:
    """Return whether clients give this title to conversations without a name."""
    name = _comparable(title or "")
    return is_blank(name) or name in UNNAMED or any(name == _comparable(one) for one in settings.UNNAMED_TITLES)


def _comparable(title: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", UNSAFE.sub("", title)).lower().split())


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
    plain = TAG.sub(" ", LINK.sub(r"\1", RULE.sub("", FENCE.sub("", safe))))
    plain = LIGHT_EMPHASIS.sub(r"\2", EMPHASIS.sub(r"\2", LINE_MARK.sub("", plain)))
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
