"""Count sends by their outcome, for metrics."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from chatapi.database.failures import DatabaseUnavailable, is_database_away
from chatapi.observability import metrics
from chatapi.service_error import ServiceError
from conversations.services.sending.turn import Turn

P = ParamSpec("P")


def count_sends(begin: Callable[P, Turn]) -> Callable[P, Turn]:
    """Count what becomes of each call of a function that begins a turn."""

    @wraps(begin)
    def counted(*args: P.args, **kwargs: P.kwargs) -> Turn:
        try:
            turn = begin(*args, **kwargs)
        except Exception as failure:
            metrics.sends.labels(_code_of(failure)).inc()
            raise
        (metrics.sends_repeated if turn.request is None else metrics.sends_begun).inc()
        return turn

    return counted


def _code_of(failure: Exception) -> str:
    if isinstance(failure, ServiceError):
        return failure.code
    return DatabaseUnavailable.code if is_database_away(failure) else ServiceError.code
