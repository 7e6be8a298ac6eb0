"""Which answers say that a request is too long for the model, and which numbers they name."""

from typing import Any

import orjson
import pytest

from inference_proxy.protocols.refusals.context_refusals import named_tokens, says_too_long
from inference_proxy.protocols.refusals.error_reports import read_error

OPENAI = (
    "This model's maximum context length is 4097 tokens. However, you requested 9000 tokens (8488 in your prompt; 512 for the "
    "completion). Please reduce your prompt; or completion length."
)


@pytest.mark.parametrize(
    ("status", "said", "numbers"),
    [
        (400, {"error": {"message": OPENAI, "code": "context_length_exceeded", "param": "messages"}}, (4097, 8488)),
        (400, {"error": {"message": "Your input exceeds the context window of this model.", "code": None}}, None),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens (2900 in "
                "the messages, 100 in the completion). Please reduce the length of the messages or completion.",
                "type": "BadRequestError",
                "code": 400,
            },
            (2048, 2900),
        ),
        (
            400,
            {"message": "This model's maximum context length is 16384 tokens. However, your request has 20000 input tokens."},
            (16384, 20000),
        ),
        (
            400,
            {"message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096."},
            (4096, 5000),
        ),
        (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 5000,
                    "n_ctx": 4096,
                }
            },
            (4096, 5000),
        ),
        (
            500,
            {"error": {"message": "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it"}},
            (4096, 5000),
        ),
        (400, {"error": "prompt too long; exceeded max context length by 5 tokens"}, None),
        (500, {"error": "the input length exceeds the context length"}, None),
        (
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` "
                "tokens and 512 `max_new_tokens`",
                "error_type": "validation",
            },
            (4096, 4000),
        ),
        (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"}, (1024, 2000)),
        (
            400,
            {"message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."},
            (4096, 5000),
        ),
        (
            400,
            {"message": "Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens). Use a shorter input."},
            (4096, 5000),
        ),
        (
            400,
            {
                "message": "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a "
                "total of 5000 tokens: 4500 tokens from the input messages and 500 tokens for the completion."
            },
            (4096, 4500),
        ),
        (
            400,
            {"error": {"message": "litellm.ContextWindowExceededError: litellm.BadRequestError: …", "code": "400"}},
            None,
        ),
        (
            400,
            {"error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}},
            (200000, 210000),
        ),
        (
            400,
            {"error": {"message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"}},
            (200000, 190000),
        ),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, None),
        (413, {"error": {"message": "Request too large for model `m`: Limit 6000, Requested 9000"}}, (6000, 9000)),
        (
            400,
            {"message": "The input token count (1,200,000) exceeds the maximum number of tokens allowed (1,048,576)."},
            (1048576, 1200000),
        ),
        (
            400,
            {"message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context"},
            (32768, 40000),
        ),
        (
            400,
            {"error": "This model's maximum prompt length is 131072 but the request contains 140000 tokens."},
            (131072, 140000),
        ),
        (400, {"error": {"message": "Input is too long for requested model."}}, None),
        (400, {"error": {"message": "Range of input length should be [1, 30720]", "code": "invalid_parameter_error"}}, None),
        (400, {"error": {"message": "Requested tokens (5000) exceed context window of 4096"}}, (4096, 5000)),
        (400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 8192"}}, None),
        (400, {"detail": "Total conversation is too long. Maximum 32000 characters allowed"}, None),
        (
            400,
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 400,
                    "metadata": {"raw": orjson.dumps({"error": {"message": OPENAI}}).decode()},
                }
            },
            (4097, 8488),
        ),
    ],
)
def test_refusals_of_a_long_request(status: int, said: Any, numbers: tuple[int, int] | None) -> None:
    error = read_error(orjson.dumps(said))
    assert says_too_long(status, error)
    assert named_tokens(error) == numbers


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_other_statuses_are_about_other_things(status: int) -> None:
    assert not says_too_long(status, read_error(orjson.dumps({"error": {"code": "context_length_exceeded"}})))


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "max_tokens is too large: 5000. This model supports at most 4096 completion tokens"}},
        {"error": {"message": "Invalid request: max_tokens is too large: 5000", "param": "max_tokens"}},
        {"error": {"message": "max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens"}},
        {"error": {"message": "Your message violates our usage policies.", "code": "content_policy_violation"}},
        {"error": {"message": "temperature must be between 0 and 2"}},
        {"error": {"message": "x" * 1_000 + " maximum context length"}},
        {"error": None},
        [],
        7,
    ],
)
def test_other_refusals(said: Any) -> None:
    assert not says_too_long(400, read_error(orjson.dumps(said)))


@pytest.mark.parametrize("said", [b"prompt is too long", b"\xffprompt is too long"])
def test_an_answer_that_is_not_json(said: bytes) -> None:
    assert says_too_long(400, read_error(said))


def test_deep_answers_cost_nothing() -> None:
    assert read_error(b'{"error":' * 900 + b"{}" + b"}" * 900).text == ""
