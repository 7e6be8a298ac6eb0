"""What of a text can be seen."""

import regex

# White space, control and format characters, and letters that are drawn as nothing: fillers and the empty Braille pattern.
INVISIBLE = r"\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800\u3164\uffa0"
VISIBLE = regex.compile(rf"[^{INVISIBLE}]")


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character."""
    # Most texts begin with a letter. To Python, Hangul's invisible fillers are letters too.
    return not (text[:1].isascii() and text[:1].isalnum()) and VISIBLE.search(text) is None
