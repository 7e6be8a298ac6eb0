"""How replies end: what the words and signs of inference services mean. One table for all protocols.

Principle: a reply is whole only if its stream says so, by a finish reason that means a whole reply or by the protocol's end
marker, and nothing in the stream says that it failed. A word that this table does not know is a failure. The end marker alone
is not enough where the stream has sent something that this service does not understand: it may be an error in another form.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

# The words of services for each finish reason of ours, in lower case and without separators: `MAX_TOKENS` is `maxtokens`.
WORDS = {
    "stop": (
        "stop stopped stopsequence stopstring stopstr stoptoken stopword stopcriteria stopcriteriamet stopstringfound "
        "matchedstop endturn endofturn endoftext endofsequence endofstream eos eostoken eosfound eot eotid imend s end ended "
        "done complete completed completion finish finished finishedsuccessfully normal success natural"
    ),
    "length": (
        "length lengthcapped lengthlimit maxlength lengthfinish maxlengthreached maxtokens maxtoken maxnewtokens "
        "maxnewtokensreached maxoutputtokens maxcompletiontokens maxtokensreached maxpredictedtokensreached maxseqlen "
        "numpredict tokenlimit tokenlimitreached outoftokens outputlimit limit limitreached truncated modellength "
        "contextlength contextlengthreached contextlengthexceeded contextwindow contextwindowexceeded contextfull "
        "modelcontextwindowexceeded maxcontextlength incomplete stoplimit"
    ),
    "content_filter": (
        "contentfilter contentfiltered contentfiltering contentpolicy contentpolicyviolation contentblocked contentrisk "
        "contentmoderation filtered safety safetyfilter recitation blocklist blocked prohibitedcontent "
        "imageprohibitedcontent spii sensitive inputsensitive outputsensitive guardrail guardrails guardrailintervened "
        "imagesafety language moderation modelarmor flagged errortoxic risk datainspectionfailed"
    ),
    "tool_calls": "toolcalls toolcall tooluse tools tool toolexecution functioncall functioncalls function",
    "refusal": "refusal refused modelrefusal",
}
FINISH_REASONS: Mapping[str, str] = {word: reason for reason, words in WORDS.items() for word in words.split()}
# A longer text is no word.
LONGEST_WORD = 100
# Some services send one of these for "not yet".
NO_WORDS = frozenset(
    {"", "null", "none", "undefined", "nil", "inprogress", "notfinished", "unfinished", "finishreasonunspecified"}
    | {"continue", "running", "generating", "pending", "processing", "streaming"}
)
# What Google puts before the word.
PREFIX = "finishreason"

# Field names, in lower case and without separators: `error_code`, `errMsg`, `ThrottlingException`, `fault`, `ret_code`.
ERROR_NAME = re.compile(
    r"(?:is|has)?(?:err|errors?|exceptions?|faults?|failures?|failed|traceback)"
    r"(?:code|msg|message|no|num|type|reason|info|details?|string|text|description)?"
    r"|[a-z]+exception|fail(?:ed)?reason|retcode"
)
# Parts of a word that tells of a failure: `server_error`, `response.failed`, `ERRORED`.
FAILED_WORD = re.compile(
    r"(?:^|[^a-z])(?:err|errors?|errored|exceptions?|fail|failed|failure|fault|fatal|abort|aborted|cancell?ed|timed.?out)(?:[^a-z]|$)"
    r"|[a-z](?:Error|Exception|Failed|Failure)$"
)
# Fields whose value may be one of these words, and objects of a provider's own that report errors inside.
WORD_FIELDS = ("object", "type", "event", "status", "state", "reason")
STATUS_FIELDS = ("statuscode", "status", "httpstatus", "httpcode")
OWN_OBJECTS = ("xgroq", "detail", "response", "header", "result", "data", "delta", "meta", "output")
MESSAGE_FIELDS = ("message", "msg", "statusmsg")
FALSE_FIELDS = ("success", "ok")
NO_ERROR = ("", "0", "false", "ok", "none", "null", "success", "successful", "200", "noerror", "normal")
# What an event that only keeps the connection open may be called.
KEEPALIVE = re.compile(r"ping|keep-?_?alive|heart-?_?beat", re.IGNORECASE)


def finish_reason_of(word: str) -> str:
    """Return our finish reason for a service's word. "" if there is none: the reply has failed."""
    return FINISH_REASONS.get(_plain(word), "")


def is_word(word: Any) -> bool:
    """Whether this says why a reply ended. Some services send an empty word, or `null` as a text, with every event."""
    return isinstance(word, str) and len(word) <= LONGEST_WORD and _plain(word) not in NO_WORDS


def finish_word(reason: Any) -> str:
    """Return the word in a finish reason, which some services send as an object with a `type`; "" if it has none."""
    if isinstance(reason, dict):
        # An object that names no type is no reason that this table could know.
        reason = next((word for name in ("type", "reason") if isinstance(word := reason.get(name), str)), "object")
    return reason if is_word(reason) else ""


def _plain(word: str) -> str:
    # Gemini adds what it found: `content_filter: SAFETY`.
    plain = "".join(filter(str.isalnum, word.lower().partition(":")[0]))
    return plain if plain in NO_WORDS else plain.removeprefix(PREFIX)


def reports_failure(event: dict[str, Any]) -> bool:
    """Whether an event says that the reply has failed. Costs more than reading it: for events with unusual fields."""
    fields = _plain_fields(event)
    if any(sign(fields) for sign in SIGNS) or _has_failed_at_minimax(fields):
        return True
    inner = [own for name in OWN_OBJECTS if isinstance(own := fields.get(name), dict)]
    return any(sign(own_fields) for own in inner for own_fields in [_plain_fields(own)] for sign in SIGNS)


def is_keepalive(event: dict[str, Any]) -> bool:
    """Whether an event without a piece of a reply only keeps the connection open: `{"type": "ping"}`, `{"ping": 1}`."""
    words = [word for name in WORD_FIELDS if isinstance(word := event.get(name), str)]
    return any(KEEPALIVE.search(word) for word in (*words, *event) if len(word) <= LONGEST_WORD)


def has_error(part: Any) -> bool:
    """Whether a part of an event, such as a choice, reports an error in the field of that name."""
    return isinstance(part, dict) and _is_error(part.get("error"))


@lru_cache(maxsize=1024)
def _plain_name(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _plain_fields(event: dict[str, Any]) -> dict[str, Any]:
    """Return the fields by their names in lower case and without separators. Longer names belong to no known field."""
    return {_plain_name(name): value for name, value in event.items() if len(name) <= LONGEST_WORD}


@lru_cache(maxsize=1024)
def _names_error(name: str) -> bool:
    return ERROR_NAME.fullmatch(name) is not None


def _has_error_field(fields: dict[str, Any]) -> bool:
    return any(_names_error(name) and _is_error(value) for name, value in fields.items())


def _is_error(value: Any) -> bool:
    return str(value).strip().lower() not in NO_ERROR if isinstance(value, str | int) else bool(value)


def _has_failed_word(fields: dict[str, Any]) -> bool:
    words = (word for name in WORD_FIELDS if isinstance(word := fields.get(name), str) and len(word) <= LONGEST_WORD)
    return any(FAILED_WORD.search(word) or FAILED_WORD.search(word.lower()) for word in words)


def _has_error_status(fields: dict[str, Any]) -> bool:
    return any(_whole(fields.get(name)) >= 400 for name in STATUS_FIELDS) or any(
        fields.get(name) is False for name in FALSE_FIELDS
    )


def _has_failed_at_minimax(fields: dict[str, Any]) -> bool:
    """Whether MiniMax reports an error: success is 0, and a problem may have any other number."""
    base = fields.get("baseresp")
    return isinstance(base, dict) and _is_error(base.get("status_code"))


def _has_code_and_message(fields: dict[str, Any]) -> bool:
    """Whether this is an error object instead of a piece of the reply: `{"code": …, "message": …}`, FastAPI's `detail`."""
    if fields.get("choices") or "token" in fields:
        return False
    has_message = any(isinstance(fields.get(name), str) for name in MESSAGE_FIELDS)
    return (has_message and _is_error(fields.get("code"))) or (set(fields) == {"detail"} and bool(fields["detail"]))


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
