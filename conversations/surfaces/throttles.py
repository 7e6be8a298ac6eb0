"""Which requests count against which rate. `chatapi.limits.throttling` has how they are counted."""

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from chatapi.cache.rates import Count, process_meter
from chatapi.environment import Rate
from chatapi.limits.throttling import IS_COUNTED, Throttle, TooManyRequests, UserThrottle
from chatapi.permits.limit import Limit


class ReadThrottle(UserThrottle):
    scope = "read"
    limit = Limit(
        what="other API requests, 404 of a conversation included",
        per="user, else client address",
        refusal=TooManyRequests,
        settings=("THROTTLE_READ",),
    )


class SendThrottle(UserThrottle):
    scope = "send"
    limit = Limit(
        what="sends (send, edit, regenerate)",
        per="user, else client address",
        refusal=TooManyRequests,
        settings=("THROTTLE_SEND",),
    )


class NoThrottle(BaseThrottle):
    """For liveness, which costs nothing. A client that shares the monitor's address must not get a healthy process killed."""

    def allow_request(self, request: Request, view: object) -> bool:
        request._request.META[IS_COUNTED] = True
        return True


class ProbeThrottle(Throttle):
    """For readiness, which asks the database. Counted in this process, because a probe must not depend on the cache."""

    scope = "probe"
    limit = Limit(what="readiness", per="client address, in each worker", refusal=TooManyRequests, settings=("THROTTLE_PROBE",))

    def count(self, key: str, rate: Rate) -> Count:
        return process_meter.count(key, rate)
