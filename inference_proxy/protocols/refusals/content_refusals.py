"""Whether the inference service refused a request because of what a message says.

Such a question would be refused again with every later one, so it stays out of the context. Services say it with a code, a
type or a sentence of their own, or name the message that is invalid. A request that is only too long is not refused for its
content.
"""

import re

from inference_proxy.protocols.refusals.error_reports import ErrorReport

# Others are about the caller, the model or the time: 401, 402, 404, 408, 429, for example. 446 is Portkey's.
STATUSES = (400, 403, 406, 413, 422, 446, 451)
POLICY = re.compile(
    r"content.?(?:policy|filter|management|moderation|violation|risk|exists.?risk)|responsible.?ai|moderation|invalid.?prompt"
    r"|usage (?:polic|guideline)|safety (?:system|polic|filter|setting|check)|data.?inspection|inappropriate content"
    r"|prohibited.?content|guardrail|high.risk|risk.?detect"
    r"|(?:content|text|input|output|prompt|messages?|information)\b.{0,40}(?<!case.)\bsensitive|new.sensitive|sensitive.?(?:content|info)"
    r"|(?:prompt|input|message|request|content|text) (?:was |has been |is |were )?(?:flagged|blocked|censored)"
    r"|敏感|违规|违禁|审核不通过|不安全",
    re.IGNORECASE,
)
TOO_LONG = re.compile(r"context.?(?:length|size|window)|too.?(?:long|large|many)|maximum|max_|exceed", re.IGNORECASE)
MESSAGES = re.compile(r"messages(?:\W|$)")
CODES = ("invalid_message", "invalid_messages")
# A service may repeat the user's own words. They are rarely at the beginning of its sentence.
SENTENCE_CHARACTERS = 300


def is_about_content(status: int, error: ErrorReport) -> bool:
    """Return whether this answer refuses a request for the content of a message."""
    if status not in STATUSES:
        return False
    if any(POLICY.search(word) for word in error.words) or error.says(POLICY, SENTENCE_CHARACTERS):
        return True
    names_message = MESSAGES.match(error.param) is not None or any(word in CODES for word in error.words)
    is_too_long = any(TOO_LONG.search(word) for word in error.words) or error.says(TOO_LONG, SENTENCE_CHARACTERS)
    return names_message and not is_too_long
