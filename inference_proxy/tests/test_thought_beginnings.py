"""A model whose replies close a thought that they never opened is learnt, and no single user can teach it."""

import logging
from collections.abc import Iterator

import pytest

from inference_proxy.protocols.base import new_think_tags, note_whole_reply
from inference_proxy.protocols.think_tags import closes_alone
from inference_proxy.protocols.thought_beginnings import MOST_MODELS, REPLIES_IN_A_ROW, thought_beginnings

RAW = "The user greets me.\n</think>\n\nHello!"


@pytest.fixture(autouse=True)
def _nothing_learnt() -> Iterator[None]:
    thought_beginnings.clear()
    yield
    thought_beginnings.clear()


def reply(model: str, whole: str) -> tuple[str, str]:
    """Read a whole reply of this model, learn from it, and return its reasoning and its text."""
    tags = new_think_tags(model)
    assert tags is not None
    parts = [*map(tags.split, whole), tags.flush(is_whole=True)]
    reasoning, text = ("".join(part[channel] for part in parts) for channel in (0, 1))
    note_whole_reply(model, text=text, reasoning=reasoning)
    return reasoning, text


def test_replies_that_agree_teach_how_to_read_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(REPLIES_IN_A_ROW):
            assert reply("r1", RAW) == ("", RAW)
            assert reply("other", "Hello!") == ("", "Hello!")
        for _ in range(3):
            assert reply("r1", RAW) == ("The user greets me.\n", "Hello!")
    assert [record.getMessage() for record in caplog.records if "INFERENCE_THINK_INSIDE" in record.getMessage()] != []
    assert len(caplog.records) == 1


def test_one_reply_without_a_thought_takes_it_back_and_loses_nothing() -> None:
    for _ in range(REPLIES_IN_A_ROW):
        reply("r1", RAW)
    assert reply("r1", "Hello!")[1] == "Hello!"
    assert reply("r1", "Hello!") == ("", "Hello!")


def test_replies_that_do_not_agree_teach_nothing() -> None:
    for whole in (RAW, RAW, "Hello!", RAW, RAW, "<think>Hm</think>Hello!", RAW, RAW):
        reply("r1", whole)
    assert reply("r1", RAW) == ("", RAW)


def test_the_memory_is_bounded() -> None:
    for number in range(MOST_MODELS + 2):
        note_whole_reply(f"model-{number}", text=RAW, reasoning="")
    assert len(thought_beginnings._counts) <= MOST_MODELS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RAW, True),
        ("Hm</think>Yes", True),
        ("Hm</think> Yes", True),
        ("Hm\n</thinking>\n\nYes", True),
        ("Hm[/THINK]Yes", True),
        ("Hm</think>", True),
        ("Hello!", False),
        ("</think>\nYes", False),
        ("<think>Hm</think>Yes", False),
        ("Write <think>Hm</think> around it", False),
        ("The tag `</think>` closes it.", False),
        ("The tag </think> is the end.", False),
        ('Send "</think>" last.', False),
        ("Hm</think>Yes</think>No", False),
        ("```\nHm\n</think>\n```", False),
    ],
)
def test_what_closes_a_thought_that_was_not_opened(text: str, expected: bool) -> None:
    assert closes_alone(text) is expected
