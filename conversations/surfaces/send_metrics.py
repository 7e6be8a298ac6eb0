"""Count sends by their outcome, for metrics."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from prometheus_client import Counter

from chatapi.database.failures import DatabaseUnavailable, is_database_away
from chatapi.service_error import ServiceError
from conversations.services.sending.turn import Turn

P = ParamSpec("P")

_sends = Counter(
    "chat_sends",
    "Sends, edits and regenerations: begun, repeated (an earlier request began the turn), or the code of the refusal.",
    ["outcome"],
)
# Series that exist from the start, so that the first one counts as an increase.
_sends_begun = _sends.labels("begun")
_sends_repeated = _sends.labels("repeated")


def count_sends(begin: Callable[P, Turn]) -> Callable[P, Turn]:
    """Count what becomes of each call of a function that begins a turn."""

    @wraps(begin)
    def counted(*args: P.args, **kwargs: P.kwargs) -> Turn:
        try:
            turn = begin(*args, **kwargs)
        except Exception as failure:
            _sends.labels(_code_of(failure)).inc()
            raise
        (_sends_repeated if turn.request is None else _sends_begun).inc()
        return turn

    return counted


def _code_of(failure: Exception) -> str:
    if isinstance(failure, ServiceError):
        return failure.code
    return DatabaseUnavailable.code if is_database_away(failure) else ServiceError.code
