"""Text of users and models in places where it must stay on its line: titles, names, addresses, tags, codes.

An escape character, a right-to-left override or a zero-width character is shown as its code point, because it could make a
title look like another one, or turn the text around it. Arabic and Hebrew text does not need such characters.
"""

import unicodedata

# Joiners shape emoji and the letters of several scripts, and selectors choose the form of an emoji.
HARMLESS = frozenset("\u200c\u200d")
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: object) -> str:
    """Return a text with control, direction and other invisible characters as `\u202e`, and line ends as spaces."""
    return "".join(_visible(character) for character in str(text))


def _visible(character: str) -> str:
    if character.isprintable() or character in HARMLESS:
        return character
    if character in "\t\n\r":
        return " "
    if unicodedata.category(character) not in INVISIBLE_CATEGORIES:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
