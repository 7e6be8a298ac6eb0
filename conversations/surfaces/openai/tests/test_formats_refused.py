"""What the inference protocol does not have is a 400 that names it, and values that change nothing are accepted."""

from typing import Any

import pytest
from rest_framework.exceptions import ValidationError

from chatapi.api.bodies import read_object
from conversations.surfaces.openai.chat.requests import CompletionCreateBody
from conversations.surfaces.openai.requests import ResponseCreateBody

JSON = {"type": "json_object"}


@pytest.fixture(autouse=True)
def nanochat(settings: Any) -> None:
    settings.INFERENCE_PROTOCOL = "nanochat"


def problems(body: type[Any], choices: dict[str, Any]) -> set[str]:
    asked = {"input": "hello", "messages": [{"role": "user", "content": "hello"}], **choices}
    try:
        read_object(body, asked)
    except ValidationError as refusal:
        assert isinstance(refusal.detail, dict)
        return set(refusal.detail)
    return set()


@pytest.mark.parametrize("body", [ResponseCreateBody, CompletionCreateBody])
@pytest.mark.parametrize(
    "choices", [{"top_p": 0.5}, {"stop": "x"}, {"seed": 1}, {"frequency_penalty": 1}, {"presence_penalty": 1}]
)
def test_a_choice_is_refused(body: type[Any], choices: dict[str, Any]) -> None:
    assert problems(body, choices) == set(choices)


@pytest.mark.parametrize(
    ("body", "choices"),
    [(ResponseCreateBody, {"text": {"format": JSON}}), (CompletionCreateBody, {"response_format": JSON})],
)
def test_a_format_is_refused(body: type[Any], choices: dict[str, Any]) -> None:
    assert problems(body, choices) == set(choices)


@pytest.mark.parametrize("body", [ResponseCreateBody, CompletionCreateBody])
def test_values_that_change_nothing_are_accepted(body: type[Any]) -> None:
    choices = {"top_p": 1, "stop": None, "seed": None, "frequency_penalty": 0, "presence_penalty": 0.0}
    assert problems(body, {**choices, "text": {"format": {"type": "text"}}, "response_format": {"type": "text"}}) == set()
