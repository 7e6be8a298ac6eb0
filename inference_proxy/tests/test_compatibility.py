"""What is learnt from the refusals of a server."""

from typing import Any

import pytest

from inference_proxy.exceptions import Refusal
from inference_proxy.protocols import compatibility as compatibility_module
from inference_proxy.protocols.compatibility import Compatibility, read_refusal

BODY = {"model": "m", "max_tokens": 9, "stream_options": {}, "temperature": 1, "top_k": 3}


@pytest.mark.parametrize(
    ("answer", "code", "kind", "fields"),
    [
        (b'{"error": {"code": "bad_value", "type": "invalid_request_error"}}', "bad_value", "invalid_request_error", set()),
        (b'{"code": "bad.value-1", "type": "BadRequestError"}', "bad.value-1", "BadRequestError", set()),
        (b'{"error": {"code": 400, "param": "max_tokens", "message": "Unsupported parameter"}}', "400", "", {"max_tokens"}),
        (b'{"error": {"param": "max_tokens", "message": "max_tokens is too large: 9. It is at most 8."}}', "", "", set()),
        (b'{"error": "top_k must be -1 or positive, got 0. 1 is not supported"}', "", "", set()),
        (b'{"error": {"code": "what the user said", "type": "x%s"}}' % (b"y" * 64), "", "", set()),
        (b'{"error": "stream_options: extra fields"}', "", "", {"stream_options"}),
        (b'{"detail": [{"loc": ["body", "top_k"], "type": "extra_forbidden"}]}', "", "extra_forbidden", {"top_k"}),
        (b"max_completion_tokens and my_top_k and top_kk", "", "", set()),
        (b'{"error": {"code": "unknown_parameter", "param": "top_k", "mess', "", "", {"top_k"}),
        (b"[]", "", "", set()),
        (b"\xff", "", "", set()),
    ],
)  # fmt: skip
def test_what_a_refusal_says(answer: bytes, code: str, kind: str, fields: set[str]) -> None:
    assert read_refusal(400, answer) == Refusal(400, code, kind, frozenset(fields))


@pytest.mark.parametrize(
    ("status", "fields", "changed"),
    [
        (400, {"max_tokens"}, {"model": "m", "max_completion_tokens": 9, "stream_options": {}, "temperature": 1, "top_k": 3}),
        (422, {"stream_options", "top_k"}, {"model": "m", "max_tokens": 9, "temperature": 1}),
        (400, set(), None),
        (401, {"max_tokens"}, None),
        (500, {"max_tokens"}, None),
    ],
)
def test_the_body_after_a_refusal(status: int, fields: set[str], changed: Any) -> None:
    assert Compatibility().change_after(BODY, Refusal(status, fields=frozenset(fields))) == changed


def test_a_field_that_was_not_sent_changes_nothing() -> None:
    assert Compatibility().change_after({"model": "m"}, Refusal(400, fields=frozenset({"max_tokens"}))) is None


def test_what_a_model_taught_holds_for_that_model() -> None:
    learner = Compatibility()
    assert learner.change(BODY) == BODY
    learner.learn(BODY, {"model": "m", "max_completion_tokens": 9, "temperature": 1, "top_k": 3})
    assert learner.change(BODY) == {"model": "m", "max_completion_tokens": 9, "temperature": 1, "top_k": 3}
    assert learner.change({**BODY, "model": "other"}) == {**BODY, "model": "other"}


def test_no_more_is_remembered_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility_module, "MOST_MODELS", 1)
    learner = Compatibility()
    for model in ("a", "b"):
        learner.learn({**BODY, "model": model}, {"model": model, "max_completion_tokens": 9, "stream_options": {}})
    assert "max_tokens" not in learner.change({**BODY, "model": "a"})
    assert "max_tokens" in learner.change({**BODY, "model": "b"})
