"""Automatic titles."""

from typing import Any

import pytest

from conversations.services.sending.titles import automatic_title, is_unnamed, is_unnamed_title

# A black flag and tags.
SCOTLAND = "🏴" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct") + "\U000e007f"


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("Hello", "Hello"),
        ("  two \n\n lines\tand tabs  ", "two lines and tabs"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80),
        ("word " * 16, "word " * 15 + "word"),
        ("word " * 17, "word " * 15 + "word"),
        ("x" * 50 + " " + "y" * 50, "x" * 50),
        ("x" * 39 + " " + "y" * 50, "x" * 39 + " " + "y" * 40),
        ("x" * 40 + " " + "y" * 50, "x" * 40),
        ("x" * 79 + " y", "x" * 79),
        ("ü" * 100, "ü" * 80),
        ("🎈" * 100, "🎈" * 80),
        # A family is five code points, a flag is two: both are one character to a reader.
        ("👨‍👩‍👧" * 20, "👨‍👩‍👧" * 16),
        ("x" + "🇫🇷" * 50, "x" + "🇫🇷" * 39),
        ("e\u0301" * 79 + "x", "e\u0301" * 40),
        ("x" + "\u0301" * 200, "x" + "\u0301" * 79),
    ],
)
def test_the_beginning_cut_at_a_word(content: str, title: str) -> None:
    assert automatic_title(content) == title
    assert len(title) <= 80


@pytest.mark.parametrize(
    ("title", "source", "unnamed"),
    [
        ("New conversation", "default", True),
        (None, "default", True),
        ("", "default", True),
        ("\u2800\u200b", "default", True),
        (" new chat ", "default", True),
        ("Untitled", "default", True),
        ("Recipes", "default", False),
        ("New conversation", "user", False),
        ("New conversation", "auto", False),
    ],
)
def test_only_an_unnamed_conversation_is_named(title: str | None, source: str, unnamed: bool) -> None:
    assert is_unnamed(title, source) is unnamed


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("```python\nprint(1)\n```\nWhat does it print?", "print(1) What does it print?"),
        ("# A heading\n\n- **one** `two`", "A heading one two"),
        ("<b>Bold</b> <script>alert(1)</script>", "Bold alert(1)"),
        ("see [the page](https://example.com/x)", "see the page"),
        ("\u202eevil\u202c \x1b[31mred\x1b[0m\x07", "evil red"),
        ("2 * 3 < 7 and 9 > 8, snake_case_name", "2 * 3 < 7 and 9 > 8, snake_case_name"),
        ("👩\u200d🚀 and می\u200cخواهم", "👩\u200d🚀 and می\u200cخواهم"),
        ("\u202e\u200b", "New conversation"),
        ("<br>", "<br>"),
        ("\u2066isolated\u2069 \u202bמודגש\u202c \u200fשלום", "isolated מודגש שלום"),
        ("so\u00adft \u180ehidden\u3164 \U000e0068\U000e0069", "soft hidden"),
        (f"{SCOTLAND} flag", f"{SCOTLAND} flag"),
        ("\x9b31mred\x9b0m \x1b]0;a window\x07blue", "red blue"),
        ("\x1b]8;;http://example.com\x1b\\a link\x1b]8;;\x1b\\ \x1b(Bend\x1b]0;open", "a link end0;open"),
        ("one\u2028two\u2029three\x85four", "one two three four"),
        ("A heading\n=========\n\n* * *\n***all*** and *some* of _it_", "A heading all and some of it"),
        ("| a | b |\n|:--|--:|\n| 1 | 2 |", "| a | b | | 1 | 2 |"),
        ("[a](http://example.com/x_(y)), [b](<http://example.com/x y>), [c][1]", "a, b, c"),
        ("这是**粗体**文字，2*3*4，*args", "这是粗体文字，2*3*4，*args"),
        ("---", "---"),
    ],
)
def test_markup_and_invisible_characters_are_left_out(content: str, title: str) -> None:
    assert automatic_title(content) == title


def test_a_front_end_s_own_placeholder_is_no_title(settings: Any) -> None:
    settings.UNNAMED_TITLES = frozenset({"Neue Unterhaltung", "新しいチャット"})
    assert is_unnamed_title(" neue unterhaltung ")
    assert is_unnamed_title("新しいチャット")
    assert is_unnamed_title("Neue\u00a0Unterhaltung\u200b")
    assert is_unnamed_title("Ｎｅｗ  ｃｈａｔ")
    assert is_unnamed_title("\u202e\ufeff")
    assert not is_unnamed_title("Unterhaltung")
