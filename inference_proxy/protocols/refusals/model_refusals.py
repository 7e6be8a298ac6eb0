"""Whether the inference service refused a request because it does not have the model that the request names.

A service may repeat what a user wrote, so only its codes and the beginning of its own sentence count.
"""

import re

from inference_proxy.protocols.refusals.error_reports import ErrorReport

STATUSES = (400, 403, 404, 410, 422)
CODES = re.compile(
    r"(?:model|deployment).?not.?(?:found|available|exist)|model.?(?:decommissioned|deprecated|unavailable)"
    r"|(?:invalid|unknown|unsupported).?model|model.?not.?supported",
    re.IGNORECASE,
)
SENTENCE = re.compile(
    r"\bmodels?\b.{0,120}?\b(?:not found|(?:does |did )?not exist|(?:is|been) (?:decommissioned|deprecated|removed|retired)"
    r"|no longer (?:available|supported)|not (?:available|loaded|deployed)|end of life|identifier is invalid)"
    r"|(?:invalid|unknown|no such|not supported|unsupported|not found the|not a valid) model\b|no endpoints found for|^model: "
    r"|deployment\b.{0,60}not exist|模型.{0,10}(?:不存在|未找到|已下线)",
    re.IGNORECASE | re.DOTALL,
)
SENTENCE_CHARACTERS = 300


def is_about_model(status: int, error: ErrorReport) -> bool:
    """Return whether this answer says that the model is not there."""
    if status not in STATUSES:
        return False
    return any(CODES.search(word) for word in error.words) or error.says(SENTENCE, SENTENCE_CHARACTERS)
