"""How replies end: what the words and signs of inference services mean. One table for all protocols.

Principle: a reply is whole only if its stream says so, by a finish reason that means a whole reply or by the protocol's end
marker, and nothing in the stream says that it failed. A word that this table does not know is a failure.
"""

from collections.abc import Callable, Mapping
from typing import Any

# The words of services for each finish reason of ours, in lower case and without separators: `MAX_TOKENS` is `maxtokens`.
WORDS = {
    "stop": (
        "stop stopped stopsequence stopstring stopstr stoptoken stopword endturn endofturn endoftext "
        "endofsequence eos eostoken eosfound end ended done complete completed completion finish finished "
        "finishedsuccessfully normal success natural"
    ),
    "length": (
        "length lengthcapped lengthlimit maxlength lengthfinish maxtokens maxtoken maxnewtokens maxoutputtokens "
        "maxcompletiontokens maxtokensreached tokenlimit outputlimit limit truncated modellength contextlength "
        "contextlengthexceeded contextwindow contextwindowexceeded modelcontextwindowexceeded maxcontextlength "
        "incomplete stoplimit"
    ),
    "content_filter": (
        "contentfilter contentfiltered contentfiltering contentpolicy contentpolicyviolation filtered safety "
        "recitation blocklist prohibitedcontent spii sensitive guardrail guardrails guardrailintervened "
        "imagesafety language moderation flagged errortoxic"
    ),
    "tool_calls": "toolcalls toolcall tooluse tools tool functioncall functioncalls function",
    "refusal": "refusal refused",
}
FINISH_REASONS: Mapping[str, str] = {word: reason for reason, words in WORDS.items() for word in words.split()}
# A longer text is no word.
LONGEST_WORD = 100
# Some services send one of these for "not yet".
NO_WORDS = frozenset({"", "null", "none", "undefined", "nil", "inprogress", "notfinished", "finishreasonunspecified"})
# What Google puts before the word.
PREFIX = "finishreason"

ERROR_FIELDS = ("error", "errors", "error_code", "errorCode", "error_msg", "error_message", "errorMessage", "exception")
FAILED_WORDS = frozenset(
    {"error", "errors", "exception", "fail", "failed", "failure", "fault", "aborted", "cancelled", "response.failed"}
)
# Fields whose value may be one of these words, and objects of a provider's own that report errors inside.
WORD_FIELDS = ("object", "type", "event", "status", "state")
STATUS_FIELDS = ("status_code", "statusCode", "status", "http_status")
OWN_OBJECTS = ("x_groq", "error_info", "detail", "response")
NO_ERROR = ("", "0", "false", "ok", "none", "null", "success", "200")


def finish_reason_of(word: str) -> str:
    """Return our finish reason for a service's word; "" for none of ours: such a reply has failed."""
    return FINISH_REASONS.get(_plain(word), "")


def is_word(word: Any) -> bool:
    """Whether this says why a reply ended. Some services send an empty word, or `null` as a text, with every event."""
    return isinstance(word, str) and len(word) <= LONGEST_WORD and _plain(word) not in NO_WORDS


def _plain(word: str) -> str:
    plain = "".join(filter(str.isalnum, word.lower()))
    return plain if plain in NO_WORDS else plain.removeprefix(PREFIX)


def reports_failure(event: dict[str, Any]) -> bool:
    """Whether an event says that the reply has failed. Costs more than reading it: for events with unusual fields."""
    if any(sign(event) for sign in SIGNS) or _has_failed_at_minimax(event):
        return True
    return any(isinstance(own := event.get(name), dict) and any(sign(own) for sign in SIGNS) for name in OWN_OBJECTS)


def _has_error_field(event: dict[str, Any]) -> bool:
    return any(_is_error(event.get(name)) for name in ERROR_FIELDS)


def _is_error(value: Any) -> bool:
    return str(value).strip().lower() not in NO_ERROR if isinstance(value, str | int) else bool(value)


def _has_failed_word(event: dict[str, Any]) -> bool:
    return any(isinstance(word := event.get(name), str) and word.lower() in FAILED_WORDS for name in WORD_FIELDS)


def _has_error_status(event: dict[str, Any]) -> bool:
    return any(_whole(event.get(name)) >= 400 for name in STATUS_FIELDS) or event.get("success") is False


def _has_failed_at_minimax(event: dict[str, Any]) -> bool:
    """Whether MiniMax reports an error: success is 0, and a problem may have any other number."""
    base = event.get("base_resp")
    return isinstance(base, dict) and _is_error(base.get("status_code"))


def _has_code_and_message(event: dict[str, Any]) -> bool:
    """Whether this is an error object instead of a piece of the reply: `{"code": …, "message": …}`, FastAPI's `detail`."""
    if event.get("choices") or "token" in event:
        return False
    has_message = any(isinstance(event.get(name), str) for name in ("message", "msg"))
    return (has_message and _is_error(event.get("code"))) or (set(event) == {"detail"} and bool(event["detail"]))


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) else 0


SIGNS: tuple[Callable[[dict[str, Any]], bool], ...] = (
    _has_error_field,
    _has_failed_word,
    _has_error_status,
    _has_code_and_message,
)
