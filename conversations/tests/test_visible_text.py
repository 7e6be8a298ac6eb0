"""Which texts are empty to a reader."""

import pytest

from conversations.visible_text import is_blank

# Letters without ink, of Hangul.
FILLERS = ["\u3164", "\uffa0\n", "\u1160\u200b"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "\u200b",
        "\u2800\u3164",
        "\ufeff\u200d\ufe0f",
        "\u00ad\u2060",
        "\x00\x1b",
        "\u034f\u115f",
        "\u3164",
        "\uffa0\n",
        "\u1160\u200b",
    ],
)
def test_invisible(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " .", "\u200b?", "❤\ufe0f", "👩\u200d🚀", "新", "\u0301"])
def test_visible(text: str) -> None:
    assert not is_blank(text)
