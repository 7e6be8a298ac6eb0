"""Which trouble of the service an error names, where its status does not say it or says another one.

A 429 may mean that nothing is paid for any more: trying again does not help. An error inside a stream has no status of its
own, and a 500 may be an overload. Only codes and types count, and for payment the beginning of a sentence: the rest may quote
a user.
"""

import re

from inference_proxy.exceptions import (
    UpstreamBusy,
    UpstreamError,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
    failure_of_status,
)
from inference_proxy.protocols.refusals.error_reports import ErrorReport

ACCOUNT_CODES = re.compile(
    r"insufficient.?(?:quota|balance|funds|credits?)|exceeded.?current.?quota|billing|arrearage|overdue|payment.?required|^1113$",
    re.IGNORECASE,
)
ACCOUNT_SENTENCE = re.compile(
    r"(?:credit|account) balance is (?:too low|insufficient|not enough)|insufficient (?:balance|funds|credits|account balance)"
    r"|(?:out of|all available) credits|no credits (?:left|remaining)|requires more credits|billing hard limit"
    r"|account is not active|余额不足|欠费",
    re.IGNORECASE,
)
SENTENCE_CHARACTERS = 300
# Codes and types, the first that matches.
TROUBLES: tuple[tuple[re.Pattern[str], type[UpstreamFailure]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (
            r"rate.?limit|overload|too.?many.?requests|over.?capacity|capacity.?exceeded|exhausted|throttl|server.?busy",
            UpstreamBusy,
        ),
        (r"timeout|timed.?out|deadline.?exceeded", UpstreamTimeout),
        (r"unavailable|not.?ready|loading", UpstreamUnavailable),
        (r"invalid.?api.?key|authentication|unauthori[sz]ed|permission|access.?denied|forbidden", UpstreamRefused),
    )
)
STATUS_NAMES = ("code", "status", "status_code", "statusCode", "http_code", "http_status")
FAILING = frozenset(map(str, range(400, 600)))


def is_about_account(status: int, error: ErrorReport) -> bool:
    """Whether this answer says that the account of this service has nothing left."""
    if not 400 <= status < 500:
        return False
    return any(ACCOUNT_CODES.search(word) for word in error.words) or error.says(ACCOUNT_SENTENCE, SENTENCE_CHARACTERS)


def trouble_of_response(status: int, error: ErrorReport) -> UpstreamFailure:
    """Return the failure of a response by its status, and by its words where the status says nothing."""
    failure = failure_of_status(status)
    return _named(error) or failure if type(failure) is UpstreamError and status >= 500 else failure


def trouble_of_event(error: ErrorReport) -> UpstreamFailure:
    """Return the failure that an error in a stream means, by the status in it or by its words."""
    if is_about_account(400, error):
        return UpstreamRefused()
    named = [str(error.numbers.get(name, "")) for name in STATUS_NAMES]
    statuses = [int(status) for status in (*named, error.code) if status in FAILING]
    failure = failure_of_status(statuses[0]) if statuses else UpstreamError()
    return _named(error) or failure if type(failure) is UpstreamError else failure


def _named(error: ErrorReport) -> UpstreamFailure | None:
    kinds = (kind for pattern, kind in TROUBLES if any(pattern.search(word) for word in error.words))
    found = next(kinds, None)
    return found() if found is not None else None
