"""What services say at the end of a reply, and which of it means that the reply failed."""

import json
from typing import Any

import pytest

from inference_proxy.exceptions import UpstreamError
from inference_proxy.protocols.base import InferenceProtocol
from inference_proxy.protocols.endings import finish_reason_of, is_word, reports_failure
from inference_proxy.protocols.nanochat import Nanochat
from inference_proxy.protocols.openai import OpenAI


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("FINISH_REASON_STOP", "stop"),
        ("end_turn", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("error", ""),
        ("abort", ""),
        ("network_error", ""),
        ("insufficient_system_resource", ""),
        ("insufficient_system_", ""),
        ("MALFORMED_FUNCTION_CALL", ""),
        ("something else", ""),
    ],
)
def test_words_are_mapped_once(word: str, reason: str) -> None:
    assert is_word(word)
    assert finish_reason_of(word) == reason


@pytest.mark.parametrize("word", ["", " ", "null", "None", None, 7, "FINISH_REASON_UNSPECIFIED"])
def test_no_word_is_no_reason(word: Any) -> None:
    assert not is_word(word)


FAILURES: list[dict[str, Any]] = [
    {"error": "x"},
    {"object": "error", "message": "x", "type": "BadRequestError", "code": 400},
    {"object": "error"},
    {"type": "error"},
    {"x_groq": {"id": "r", "error": "x"}},
    {"base_resp": {"status_code": 1, "status_msg": "x"}},
    {"base_resp": {"status_code": 1004}},
    {"error_code": 17, "error_msg": "x"},
    {"errorCode": "Busy"},
    {"errors": ["x"]},
    {"status": 500},
    {"status": "failed"},
    {"success": False},
    {"code": "InternalError", "message": "x"},
    {"code": 1234, "msg": "x"},
    {"detail": "x"},
]


@pytest.mark.parametrize("protocol", [OpenAI, Nanochat])
@pytest.mark.parametrize("event", FAILURES)
def test_signs_of_failure(event: dict[str, Any], protocol: type[InferenceProtocol]) -> None:
    with pytest.raises(UpstreamError):
        protocol().read_event(json.dumps(event).encode())


def test_an_error_in_a_choice() -> None:
    event = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": {"code": 502}}]}
    with pytest.raises(UpstreamError):
        OpenAI().read_event(json.dumps(event).encode())


@pytest.mark.parametrize(
    "event",
    [
        {"error": None, "choices": []},
        {"error_code": 0, "choices": []},
        {"base_resp": {"status_code": 0, "status_msg": ""}, "choices": []},
        {"code": 200, "message": "ok"},
        {"status": "in_progress"},
        {"x_groq": {"id": "r"}, "choices": []},
        {"token": "a", "message": "x", "code": 3},
        {"note": 1},
    ],
)
def test_no_signs_of_failure(event: dict[str, Any]) -> None:
    assert not reports_failure(event)


def test_the_text_beside_a_word_of_failure_is_kept() -> None:
    event = {"choices": [{"delta": {"content": "a"}, "finish_reason": "abort"}]}
    delta = OpenAI().read_event(json.dumps(event).encode())
    assert (delta.text, delta.is_end, delta.has_failed, delta.finish_reason, delta.finish_word) == (
        "a",
        True,
        True,
        "",
        "abort",
    )
