"""Which answers refuse a request because of what a message says."""

from typing import Any

import orjson
import pytest

from inference_proxy.protocols.refusals.content_refusals import is_about_content
from inference_proxy.protocols.refusals.error_reports import read_error


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"error": {"code": "content_policy_violation", "message": "Your request was rejected."}}),
        (400, {"error": {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        (400, {"error": {"code": "invalid_prompt", "message": "Invalid prompt: your prompt was flagged."}}),
        (403, {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged."}}),
        (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
        (400, {"error": {"type": "invalid_request_error", "param": "messages[3].content", "message": "Invalid value."}}),
        (422, {"detail": [{"loc": ["body", "messages", 2, "content"], "msg": "Invalid string"}]}),
        (422, {"error": "The message violates our content policy."}),
    ],
)
def test_refusals_of_a_message(status: int, said: Any) -> None:
    assert is_about_content(status, read_error(orjson.dumps(said)))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"error": {"code": "context_length_exceeded", "param": "messages", "message": "This model's maximum context…"}}),
        (400, {"error": {"message": "'max_tokens' must be at most 4096", "param": "max_tokens"}}),
        (401, {"error": {"message": "Invalid API key"}}),
        (403, {"error": {"message": "Project is not allowed to use this model"}}),
        (429, {"error": {"code": "content_filter"}}),
        (500, {"error": {"code": "content_filter"}}),
        (422, {"detail": [{"loc": ["body", "temperature"], "msg": "Invalid number"}]}),
        (400, {"error": {"message": "x" * 300 + " content policy"}}),
        (400, []),
        (400, {"error": None}),
    ],
)
def test_other_refusals(status: int, said: Any) -> None:
    assert not is_about_content(status, read_error(orjson.dumps(said)))


@pytest.mark.parametrize(("said", "expected"), [(b"blocked by content filter", True), (b"<html>Bad Request</html>", False)])
def test_answers_that_are_not_json(said: bytes, expected: bool) -> None:
    assert is_about_content(400, read_error(said)) is expected
