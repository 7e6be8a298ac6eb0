"""Tags of conversations: how they are written, and when two are the same.

A tag is stored as its user wrote it, in Unicode's form NFC and without white space around it. Its *key* is what it is compared
by: the same text without case. Both are columns, because PostgreSQL's `lower` depends on the locale of the database.
"""

import unicodedata
from collections.abc import Iterable

MAX_TAGS = 20
MAX_TAG_CHARACTERS = 50


def clean_tag(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def tag_key(tag: str) -> str:
    """Return what all spellings of a tag have in common. It may be longer than the tag: ß becomes ss."""
    return unicodedata.normalize("NFC", clean_tag(tag).casefold())


def tags_by_key(tags: Iterable[str]) -> dict[str, str]:
    """Return the tags by their keys, in their order. Of two spellings of one tag, the first one counts."""
    found: dict[str, str] = {}
    for tag in map(clean_tag, tags):
        found.setdefault(tag_key(tag), tag)
    return found


def tag_columns(tags: Iterable[str]) -> dict[str, list[str] | None]:
    """Return the columns of a conversation with these tags."""
    by_key = tags_by_key(tags)
    return {"tags": list(by_key.values()) or None, "tag_keys": list(by_key) or None}
