"""What a continuation adds to a reply, and what it leaves as it was."""

from dataclasses import replace
from typing import Any

import pytest

from inference_proxy.protocols.base import CONTINUE_INSTRUCTION, GenerationRequest
from inference_proxy.protocols.nanochat import Nanochat
from inference_proxy.protocols.openai import OpenAI
from inference_proxy.replies.continuing import MOST_COUNTED, Former, end_of_continuation
from inference_proxy.replies.frames import START, Cursor
from inference_proxy.replies.model_limits import shortened
from inference_proxy.replies.store import FinalStatus, FinishedReply
from inference_proxy.replies.transcript import Transcript

FORMER = Former(
    number=2,
    text="one",
    reasoning="Hm.",
    status="failed",
    error_code="upstream_timeout",
    token_count=3,
    prompt_tokens=10,
    inference_time_ms=100,
    first_token_ms=20,
    trace_id="first",
)
ASKED = {"role": "user", "content": "count"}
BEGUN = {"role": "assistant", "content": "one"}
INSTRUCTION = {"role": "user", "content": CONTINUE_INSTRUCTION}


def end(status: FinalStatus, text: str = "one two", **values: Any) -> FinishedReply:
    fields: dict[str, Any] = {
        "error_code": "upstream_error" if status == "failed" else "",
        "token_count": 2,
        "prompt_tokens": 20,
        "inference_time_ms": 50,
        "first_token_ms": 5,
        "finish_reason": "stop",
        "reasoning": "Hm.",
        **values,
    }
    return FinishedReply(reply_id=None, status=status, text=text, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["complete", "stopped", "interrupted"])
def test_numbers_add_up(status: FinalStatus) -> None:
    whole = end_of_continuation(end(status), FORMER)
    assert (whole.status, whole.error_code, whole.text, whole.continuation) == (status, "", "one two", 2)
    assert (whole.token_count, whole.prompt_tokens, whole.inference_time_ms, whole.first_token_ms) == (5, 30, 150, 20)


def test_a_sum_fits_its_column() -> None:
    assert end_of_continuation(end("complete", prompt_tokens=MOST_COUNTED), FORMER).prompt_tokens == MOST_COUNTED


def test_a_failure_without_a_word_changes_nothing() -> None:
    whole = end_of_continuation(end("failed", "one", trace_id="second"), FORMER)
    assert (whole.status, whole.error_code, whole.trace_id, whole.releases_key) == ("failed", "upstream_timeout", "first", True)
    assert (whole.token_count, whole.prompt_tokens, whole.inference_time_ms, whole.first_token_ms) == (3, 10, 100, 20)


def test_a_failure_keeps_what_was_shown_and_the_former_status() -> None:
    whole = end_of_continuation(end("failed"), replace(FORMER, status="complete", error_code="", finish_reason="length"))
    assert (whole.status, whole.error_code, whole.finish_reason, whole.text) == ("complete", "", "length", "one two")
    assert (whole.token_count, whole.releases_key) == (5, False)


def test_a_transcript_begins_with_both_channels() -> None:
    transcript = Transcript()
    transcript.begin_with("one", "Hm.")
    transcript.append(b'{"token": " two"}', " two")
    assert (transcript.text(), transcript.reasoning()) == ("one two", "Hm.")
    follower = transcript.follow(Cursor(1, 2))
    assert [payload for _, payload in follower.take()] == [b'{"reasoning":"."}', b'{"token":"ne"}', b'{"token": " two"}']
    assert len(transcript.follow(START).take()) == 3


def test_an_instruction_follows_the_text_where_prefill_is_not_known(settings: Any) -> None:
    request = GenerationRequest([ASKED], continues="one")
    for protocol in (OpenAI(), Nanochat()):
        body = protocol.body(request)
        assert body["messages"] == [ASKED, BEGUN, INSTRUCTION]
        assert "continue_final_message" not in body


def test_the_text_is_the_last_message_where_the_model_is_known_to_take_it(settings: Any) -> None:
    settings.INFERENCE_PREFILL = ["qwen*"]
    body = OpenAI().body(GenerationRequest([ASKED], model_tag="Qwen3", continues="one"))
    assert (body["messages"], body["continue_final_message"], body["add_generation_prompt"]) == ([ASKED, BEGUN], True, False)
    other = OpenAI().body(GenerationRequest([ASKED], model_tag="llama", continues="one"))
    assert other["messages"][-1] == INSTRUCTION
    assert "continue_final_message" not in OpenAI().body(GenerationRequest([ASKED], model_tag="Qwen3"))


def test_a_shorter_request_still_continues() -> None:
    request = shortened(GenerationRequest([ASKED, BEGUN, ASKED], continues="one"))
    assert request is not None
    assert OpenAI().body(request)["messages"] == [ASKED, BEGUN, INSTRUCTION]
