"""Health checks, which monitors call without a token."""

from typing import Any

from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from chatapi.api.views import APIView
from chatapi.cache.rates import Count, process_meter
from chatapi.environment import Rate
from chatapi.limits.throttling import IS_COUNTED, Throttle, TooManyRequests
from chatapi.permits.limit import Limit


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


class ProbeView(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes: list[Any] = [NoThrottle]
