"""Which answers refuse a request because the service does not have the model."""

from typing import Any

import orjson
import pytest

from inference_proxy.protocols.refusals.error_reports import read_error
from inference_proxy.protocols.refusals.model_refusals import is_about_model


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            404,
            {"error": {"code": "model_not_found", "message": "The model `x` does not exist or you do not have access to it."}},
        ),
        (404, {"object": "error", "type": "NotFoundError", "message": "The model `x` does not exist."}),
        (404, {"error": {"message": "model 'x' not found", "type": "not_found_error"}}),
        (404, {"error": {"type": "not_found_error", "message": "model: x"}}),
        (404, {"error": 'model "x" not found, try pulling it first'}),
        (404, {"detail": "The model x was not found."}),
        (400, {"error": {"code": "model_decommissioned", "message": "The model `x` has been decommissioned."}}),
        (400, {"message": "Invalid model: x", "type": "invalid_model", "code": "1500"}),
        (410, {"error": {"message": "The model x has been retired."}}),
    ],
)
def test_refusals_of_a_model(status: int, said: Any) -> None:
    assert is_about_model(status, read_error(orjson.dumps(said)))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, {"detail": "Not Found"}),
        (400, {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}}),
        (400, {"error": {"code": "context_length_exceeded", "message": "This model's maximum context length is 4096 tokens."}}),
        (500, {"error": {"code": "model_not_found"}}),
        (404, {"error": {"message": "x" * 300 + "model not found"}}),
        (404, []),
    ],
)
def test_other_refusals(status: int, said: Any) -> None:
    assert not is_about_model(status, read_error(orjson.dumps(said)))
