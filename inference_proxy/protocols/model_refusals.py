"""Whether the inference service refused a request because it does not have the model that the request names.

A service may repeat what a user wrote, so only its codes and the beginning of its own sentence count.
"""

import re
from typing import Any

import orjson

STATUSES = (400, 403, 404, 410, 422)
CODES = ("model_not_found", "model_not_available", "model_decommissioned", "model_deprecated", "invalid_model", "unknown_model")
SENTENCE = re.compile(
    r"model\b.{0,120}?\b(?:not found|(?:does|did) not exist|(?:is|been) (?:decommissioned|deprecated|removed|retired)"
    r"|no longer (?:available|supported)|not available)"
    r"|(?:invalid|unknown|no such) model\b|^model: ",
    re.IGNORECASE | re.DOTALL,
)
SENTENCE_CHARACTERS = 300


def is_about_model(status: int, answer: bytes) -> bool:
    """Return whether this answer says that the model is not there."""
    if status not in STATUSES:
        return False
    try:
        said: Any = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return False
    error = said.get("error", said) if isinstance(said, dict) else said
    if isinstance(error, str):
        return _names_model(error)
    if not isinstance(error, dict):
        return False
    if any(error.get(name) in CODES for name in ("code", "type")):
        return True
    return any(isinstance(said := error.get(name), str) and _names_model(said) for name in ("message", "detail"))


def _names_model(sentence: str) -> bool:
    return SENTENCE.search(sentence[:SENTENCE_CHARACTERS]) is not None
