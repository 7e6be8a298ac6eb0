"""Automatic titles."""

from typing import Any

import pytest

from conversations.services.sending.titles import automatic_title, is_unnamed, is_unnamed_title


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
    ],
)
def test_markup_and_invisible_characters_are_left_out(content: str, title: str) -> None:
    assert automatic_title(content) == title


def test_a_front_end_s_own_placeholder_is_no_title(settings: Any) -> None:
    settings.UNNAMED_TITLES = frozenset({"Neue Unterhaltung", "新しいチャット"})
    assert is_unnamed_title(" neue unterhaltung ")
    assert is_unnamed_title("新しいチャット")
    assert not is_unnamed_title("Unterhaltung")
