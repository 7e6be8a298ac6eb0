"""Whether the inference service refused a request because of a value that its user chose, and which values it takes.

Such a refusal is that user's own. It says nothing of the fields that the service knows, and nothing of its health.
"""

import re

from inference_proxy.protocols.refusals.error_reports import ErrorReport

STATUSES = (400, 422)
# What services call the choices of a request.
FIELDS = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxoutputtokens": "max_tokens",
    "maxtokens": "max_tokens",
    "maximum tokens": "max_tokens",
    "num_predict": "max_tokens",
    "top_k": "top_k",
    "topk": "top_k",
    "top k": "top_k",
    "top_p": "top_p",
    "topp": "top_p",
    "top p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "response_format": "response_format",
}
# Ordinary sentences have these words too, so they count only where a service names them as its parameter.
PARAMETERS = {"stop": "stop", "seed": "seed"}
FIELD = re.compile(rf"(?<![A-Za-z0-9_])(?:{'|'.join(FIELDS)})(?![A-Za-z0-9_])", re.IGNORECASE)
# A service may repeat the user's own words. They are rarely at the beginning of its sentence.
SENTENCE_CHARACTERS = 300
NUMBER = r"(-?\d[\d,]{0,11}(?:\.\d{1,6})?)"
# How services say which values they take. Only the number is told to the user, never their words.
MOST = (
    rf"between -?[\d.,]+ and {NUMBER}",
    rf"[\[(] ?-?[\d.,]+ ?, ?{NUMBER} ?[\])]",
    rf"range:? -?[\d.]+(?:\.\.| to | - ){NUMBER}",
    rf"to {NUMBER} \(inclusive",
    r"(?:at most|up to|(?:more|greater|larger|higher|bigger) than|less (?:than )?or equal to|less than|smaller than|lower than"
    r"|below|under|not exceed|exceeds?(?: the)?|<=|≤|<|maximum(?: [a-z]+){0,5}(?: is| of|:)?|limit(?: is| of|:))"
    rf"[ '\"`(]*{NUMBER}",
    rf"> {NUMBER}",
)
# The first number that is too large.
BEYOND = r"to (\d{1,9}) \(exclusive"
LEAST = (rf"(?:at least|greater than or equal to|minimum(?: [a-z]+){{0,5}}(?: is| of|:)?|>=|≥)[ '\"`(]*{NUMBER}",)


def refused_field(status: int, error: ErrorReport) -> str:
    """Return the choice whose value was refused, by our name; "" if the answer is about something else."""
    if status not in STATUSES:
        return ""
    if error.param in PARAMETERS:
        return PARAMETERS[error.param]
    found = FIELD.search(error.param) if error.param else FIELD.search(error.text[:SENTENCE_CHARACTERS])
    return FIELDS[found[0].lower()] if found else ""


def describe_bounds(error: ErrorReport) -> str:
    """Return a sentence with the bound that the service names, or "" if it names none."""
    field = FIELD.search(error.text[:SENTENCE_CHARACTERS])
    text = error.text[field.end() if field else 0 :][:SENTENCE_CHARACTERS]
    least = _first(LEAST, text)
    # "greater than or equal to 1" has no upper bound, although it has "greater than".
    most = _first(MOST, re.sub(LEAST[0], "", text, flags=re.IGNORECASE))
    if beyond := re.search(BEYOND, text):
        most = str(int(beyond[1]) - 1)
    if most:
        return f"The largest value is {most}."
    return f"The smallest value is {least}." if least else ""


def _first(patterns: tuple[str, ...], text: str) -> str:
    found = next((match for pattern in patterns if (match := re.search(pattern, text, re.IGNORECASE))), None)
    return found[1].replace(",", "") if found else ""
