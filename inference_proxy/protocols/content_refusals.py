"""Whether the inference service refused a request because of what a message says.

Such a question would be refused again with every later one, so it stays out of the context. Services say it with a code, a
type or a sentence of their own, or name the message that is invalid. A request that is only too long is not refused for its
content.
"""

import re
from typing import Any

import orjson

# Others are about the caller, the model or the time: 401, 402, 404, 408, 429, for example.
STATUSES = (400, 403, 406, 413, 422, 451)
POLICY = re.compile(
    r"content.?(?:policy|filter|management|moderation|violation)|responsible.?ai|moderation|invalid.?prompt|usage polic"
    r"|safety (?:system|polic|filter|setting)|data.?inspection|inappropriate content|sensitive content|prohibited.?content"
    r"|(?:prompt|input|message|request) (?:was |has been |is )?(?:flagged|blocked)",
    re.IGNORECASE,
)
TOO_LONG = re.compile(r"context.?(?:length|size|window)|too.?(?:long|large|many)|maximum|max_|exceed", re.IGNORECASE)
MESSAGES = re.compile(r"messages(?:\W|$)")
# A service may repeat the user's own words. They are rarely at the beginning of its sentence.
SENTENCE_CHARACTERS = 300


def is_about_content(status: int, answer: bytes) -> bool:
    """Return whether this answer refuses a request for the content of a message."""
    if status not in STATUSES:
        return False
    try:
        said = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return POLICY.search(answer[:SENTENCE_CHARACTERS].decode(errors="replace")) is not None
    error = said.get("error", said) if isinstance(said, dict) else said
    if isinstance(error, str):
        return POLICY.search(error[:SENTENCE_CHARACTERS]) is not None
    if not isinstance(error, dict):
        return False
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    sentence = str(error.get("message") or error.get("detail") or "")[:SENTENCE_CHARACTERS]
    words = [*(code for code in codes if isinstance(code, str)), sentence]
    if any(POLICY.search(word) for word in words):
        return True
    return _names_a_message(error) and not any(TOO_LONG.search(word) for word in words)


def _names_a_message(error: dict[str, Any]) -> bool:
    """Return whether the error names a message as invalid: in `param`, as OpenAI, or in `loc`, as FastAPI."""
    param, details = error.get("param"), error.get("detail")
    if isinstance(param, str) and MESSAGES.match(param):
        return True
    if error.get("code") in ("invalid_message", "invalid_messages"):
        return True
    found = [detail.get("loc") for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    return any(isinstance(loc, list) and "messages" in loc for loc in found)
