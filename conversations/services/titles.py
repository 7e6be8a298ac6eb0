"""Automatic titles."""

from conversations.models import DEFAULT_TITLE, TitleSource

AUTOMATIC_TITLE_CHARACTERS = 80
# Titles that clients of the predecessor gave to conversations without a name.
UNNAMED_TITLES = frozenset({"", DEFAULT_TITLE.lower(), "new chat", "untitled"})


def is_unnamed(title: str | None, title_source: str) -> bool:
    """Tell whether a conversation still has the title it was born with."""
    return title_source == TitleSource.DEFAULT and (title or "").strip().lower() in UNNAMED_TITLES


def automatic_title(content: str) -> str:
    """Return the beginning of a message as a title: its first 80 characters, cut at a word where that leaves half of them."""
    words = " ".join(content.split())
    if len(words) <= AUTOMATIC_TITLE_CHARACTERS:
        return words
    beginning = words[:AUTOMATIC_TITLE_CHARACTERS]
    if words[AUTOMATIC_TITLE_CHARACTERS] != " ":
        whole_words = beginning.rpartition(" ")[0]
        if len(whole_words) >= AUTOMATIC_TITLE_CHARACTERS // 2:
            return whole_words
    return beginning.rstrip()
