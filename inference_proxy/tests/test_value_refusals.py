"""Which refusals are about a value that a user chose, and which bound they name."""

from typing import Any

import orjson
import pytest

from inference_proxy.exceptions import ValueRefused
from inference_proxy.protocols.refusals.error_reports import read_error
from inference_proxy.protocols.refusals.failures import failure_of_response
from inference_proxy.protocols.refusals.value_refusals import describe_bounds


@pytest.mark.parametrize(
    ("status", "said", "field", "bounds"),
    [
        (
            400,
            {
                "error": {
                    "message": "max_tokens is too large: 5000. This model supports at most 4096 completion tokens.",
                    "param": "max_tokens",
                }
            },
            "max_tokens",
            "The largest value is 4096.",
        ),
        (
            400,
            {"error": {"message": "max_tokens: 9000 > 8192, which is the maximum allowed"}},
            "max_tokens",
            "The largest value is 8192.",
        ),
        (400, {"message": "`max_tokens` must be less than or equal to `8,192`"}, "max_tokens", "The largest value is 8192."),
        (400, {"message": "Range of max_tokens should be [1, 8192]"}, "max_tokens", "The largest value is 8192."),
        (400, {"message": "'max_completion_tokens' is invalid"}, "max_tokens", ""),
        (
            400,
            {"error": {"param": "temperature", "message": "Invalid value: 2. Must be below 1.5."}},
            "temperature",
            "The largest value is 1.5.",
        ),
        (
            422,
            {"detail": [{"loc": ["body", "temperature"], "msg": "Input should be less than or equal to 2", "input": 3}]},
            "temperature",
            "The largest value is 2.",
        ),
        (
            422,
            {"detail": [{"loc": ["body", "sampling", "top_k"], "msg": "Input should be greater than or equal to 1"}]},
            "top_k",
            "The smallest value is 1.",
        ),
        (400, {"message": "top_k must be 0 (disable), or at least 1, got -5."}, "top_k", "The smallest value is 1."),
        (400, {"error": "temperature must be between 0 and 1"}, "temperature", "The largest value is 1."),
        (400, {"error": {"param": "stop", "message": "Invalid stop sequence."}}, "stop", ""),
        (400, {"error": {"param": "seed", "message": "Invalid seed."}}, "seed", ""),
        (400, {"error": "top_p must be in (0, 1]"}, "top_p", "The largest value is 1."),
        (400, {"error": {"message": "response_format is invalid"}}, "response_format", ""),
        (
            400,
            {"error": {"message": "Unsupported value: 'temperature' does not support 0.5 with this model."}},
            "temperature",
            "",
        ),
    ],
)
def test_refusals_of_a_value(status: int, said: Any, field: str, bounds: str) -> None:
    answer = orjson.dumps(said)
    failure = failure_of_response(status, answer)
    assert isinstance(failure, ValueRefused)
    assert (failure.status, failure.field) == (400, field)
    assert describe_bounds(read_error(answer)) == bounds
    assert failure.as_json()["fields"] == {
        field: [" ".join(filter(None, ("The model's provider refused this value.", bounds)))]
    }


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, {"error": {"param": "max_tokens"}}),
        (404, {"error": {"message": "max_tokens"}}),
        (400, {"error": {"param": "model", "message": "no such model for temperature"}}),
        (400, {"error": {"message": "my_top_k is no field"}}),
        (400, {"error": {"message": "x" * 300 + " top_k"}}),
        (400, {"error": {"code": "content_filter", "message": "temperature"}}),
        (400, []),
    ],
)
def test_other_refusals(status: int, said: Any) -> None:
    assert not isinstance(failure_of_response(status, orjson.dumps(said)), ValueRefused)


def test_nothing_of_what_the_service_said_is_told() -> None:
    failure = failure_of_response(
        400, b'{"error": {"param": "top_k", "message": "top_k at most gpu-7 <script> 12345678901234567890"}}'
    )
    assert "gpu-7" not in str(failure.as_json()) and "script" not in str(failure.as_json())
