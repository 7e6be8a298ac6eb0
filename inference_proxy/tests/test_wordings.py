"""Wordings of refusals, as providers and servers send them: too long, a value, its content, the model, a field.

Each line of a file in `wordings/` is an answer with its status, and what it means.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from inference_proxy.exceptions import ContentRefused, ContextTooLong, ModelGone, UpstreamFailure, ValueRefused
from inference_proxy.protocols.compatibility import Compatibility, read_refusal
from inference_proxy.protocols.refusals.error_reports import read_error
from inference_proxy.protocols.refusals.failures import failure_of_event, failure_of_response
from inference_proxy.protocols.refusals.value_refusals import describe_bounds

Wording = dict[str, Any]


def wordings(name: str) -> list[Wording]:
    lines = (Path(__file__).parent / "wordings" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def answer_of(wording: Wording) -> bytes:
    answer = wording["answer"]
    return answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()


def failure_of(wording: Wording) -> UpstreamFailure:
    return failure_of_response(wording["status"], answer_of(wording))


@pytest.mark.parametrize("wording", wordings("too_long"))
def test_a_request_that_is_too_long(wording: Wording) -> None:
    failure = failure_of(wording)
    assert isinstance(failure, ContextTooLong)
    assert failure.named_tokens == (wording["numbers"] and tuple(wording["numbers"]))


@pytest.mark.parametrize("wording", wordings("not_too_long"))
def test_what_is_too_long_is_something_else(wording: Wording) -> None:
    assert not isinstance(failure_of(wording), ContextTooLong)


@pytest.mark.parametrize("wording", wordings("values"))
def test_a_value_that_is_refused(wording: Wording) -> None:
    failure = failure_of(wording)
    assert isinstance(failure, ValueRefused)
    assert failure.field == wording["field"]
    assert describe_bounds(read_error(answer_of(wording))) == wording["bound"]


@pytest.mark.parametrize("wording", wordings("content"))
def test_a_content_that_is_refused(wording: Wording) -> None:
    assert isinstance(failure_of(wording), ContentRefused)


@pytest.mark.parametrize("wording", wordings("not_content"))
def test_what_is_refused_is_not_the_content(wording: Wording) -> None:
    assert not isinstance(failure_of(wording), ContentRefused)


@pytest.mark.parametrize("wording", wordings("models"))
def test_a_model_that_is_gone(wording: Wording) -> None:
    assert isinstance(failure_of(wording), ModelGone)


@pytest.mark.parametrize("wording", wordings("fields"))
def test_a_field_that_is_unknown(wording: Wording) -> None:
    refusal = read_refusal(wording["status"], answer_of(wording))
    assert Compatibility().change_after(wording["body"], refusal) == wording["changed"]


@pytest.mark.parametrize("wording", wordings("troubles"))
def test_a_trouble_of_the_service(wording: Wording) -> None:
    failure = failure_of(wording) if wording["status"] else failure_of_event(answer_of(wording))
    assert failure.code == wording["code"]
