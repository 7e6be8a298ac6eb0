"""How many tokens a request and its reply have, as services count them.

They have many names for the same two numbers. Names are compared in lower case and without separators.
"""

from typing import Any

from inference_proxy.protocols.base import Delta
from inference_proxy.protocols.event_values import whole_number

PROMPT_NAMES = (
    "prompttokens",
    "inputtokens",
    "prompttokencount",
    "inputtokencount",
    "prompttokenscount",
    "promptevalcount",
    "numinputtokens",
    "tokensevaluated",
    "promptn",
)
COMPLETION_NAMES = (
    "completiontokens",
    "outputtokens",
    "candidatestokencount",
    "outputtokencount",
    "completiontokencount",
    "generatedtokens",
    "generatedtokencount",
    "numoutputtokens",
    "evalcount",
    "tokenspredicted",
    "predictedn",
)
TOTAL_NAMES = ("totaltokens", "totaltokencount")
# Objects around the numbers, at Cohere and others.
INNER_NAMES = ("tokens", "billedunits", "text", "usage")
# Where providers put counts beside OpenAI's `usage`, in the event or in an object of their own.
PLACES = ("timings", "x_groq", "usageMetadata", "usage_metadata", "token_usage", "meta")
# An object with more fields is no count.
MOST_FIELDS = 40


def read_usage(usage: Any, delta: Delta) -> None:
    """Put a service's count of tokens into a delta. 0 means that it was not counted."""
    if isinstance(usage, list) and usage:
        usage = usage[-1]
    if not isinstance(usage, dict) or len(usage) > MOST_FIELDS:
        return
    counts = {"".join(filter(str.isalnum, name.lower())): count for name, count in usage.items()}
    if not _take(counts, delta):
        inner = next((counts[name] for name in INNER_NAMES if isinstance(counts.get(name), dict)), None)
        if inner is not None and len(inner) <= MOST_FIELDS:
            _take({"".join(filter(str.isalnum, name.lower())): count for name, count in inner.items()}, delta)


def read_usage_elsewhere(event: dict[str, Any], delta: Delta) -> None:
    """Read the counts that an event has in other places than `usage`. That one comes after them, and counts."""
    for place in PLACES:
        if place in event:
            read_usage(event[place], delta)


def _take(counts: dict[str, Any], delta: Delta) -> bool:
    """Put the counts into the delta; return whether there were any."""
    prompt, completion = _first_count(counts, PROMPT_NAMES), _first_count(counts, COMPLETION_NAMES)
    if prompt and not completion and (total := _first_count(counts, TOTAL_NAMES)) and total > prompt:
        completion = total - prompt
    delta.prompt_tokens = prompt or delta.prompt_tokens
    delta.completion_tokens = completion or delta.completion_tokens
    return bool(prompt or completion)


def _first_count(counts: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := whole_number(counts.get(name)))), None)
