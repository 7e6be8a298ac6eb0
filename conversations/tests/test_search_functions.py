"""The functions that make the words of search give the same words as those that the indexes were built with."""

import importlib
import random
import unicodedata
from typing import Any

import pytest
from django.db import connection

from conversations.tests.test_search_table import TABLE

pytestmark = pytest.mark.django_db

BEFORE: Any = importlib.import_module("conversations.migrations.0035_search_words")
COMPARE_SQL = """
SELECT text FROM unnest(%s::text[]) AS given (text)
WHERE search_words(search_text(text)) <> older_words(older_text(text))
   OR search_places(search_text(text)) <> search_places(older_text(text))
"""


def every_character() -> list[str]:
    """Return texts with each character of Unicode that has a meaning, between letters, digits and spaces."""
    known = [chr(code) for code in range(1, 0x30000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    beside = ("a{}b", " {} ", "1{}A", "{}")
    pieces = [beside[number % len(beside)].format(character) for number, character in enumerate(known)]
    return ["".join(pieces[first : first + 200]) for first in range(0, len(pieces), 200)]


def random_texts() -> list[str]:
    rng = random.Random(21)
    signs = "aBcIxyz019 .,!?:;-_'\"()[]{}<>|\\/@#$%^&*+=~`\n\t\r\x01\x1f\x7f" + "äßςıİéЁ你好ฟ한々🙂№Ａ。، \u200b\u0301\u00ad"
    ascii_signs = [sign for sign in signs if sign.isascii()]
    texts = []
    for number in range(1500):
        chosen = ascii_signs if number % 2 else signs
        texts.append("".join(rng.choice(chosen) for _ in range(rng.randrange(1, 80))))
    # Words so long that they are cut.
    return [*texts, "x" * 249, "x" * 250, "X" * 251 + " y", "é" * 300 + "." + "z" * 600, "a" * 120_000]


def test_words_are_those_of_the_version_before() -> None:
    texts = [text for texts in TABLE.values() for text in texts]
    with connection.cursor() as cursor:
        cursor.execute(BEFORE.SEARCH_TEXT.replace("search_text", "older_text").replace("%", "%%"), ())
        cursor.execute(BEFORE.SEARCH_WORDS.replace("search_words", "older_words").replace("%", "%%"), ())
        cursor.execute(COMPARE_SQL, [[*texts, *every_character(), *random_texts()]])
        assert cursor.fetchall() == []
