"""Rate limits per user and per client address, counted in Django's cache. With CACHE_URL all workers share the counts.

Requests with a valid token are counted per user. All others (no valid token, unknown URL, the admin, the schema, static files)
are counted per client address. Each request is counted once. A shared cache counts a user's request when it is
asked about the token, so both are one round trip. See `rates` for the algorithm.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from chatapi.cache.rates import Count, meter
from chatapi.environment import Rate
from chatapi.incoming.client_address import address_group
from chatapi.incoming.error_page import error_page
from chatapi.permits.limit import Limit
from chatapi.service_error import ServiceError

# Of a key, before a user's id.
USER = "user-"
# What is noted of a request, in its META.
IS_COUNTED, COUNT = "chatapi.is_counted", "chatapi.count"
EARLY_THROTTLE, EARLY_COUNT = "chatapi.early_throttle", "chatapi.early_count"


class TooManyRequests(ServiceError):
    code = "throttled"
    status = 429
    detail = "There are too many requests from your IP address. Wait for the number of seconds in the Retry-After header."


PER_ADDRESS = Limit(
    what="everything else: 401, 403, unknown paths, admin, schema, docs, static files",
    per="client address",
    refusal=TooManyRequests,
    settings=("THROTTLE_ADDRESS",),
)


@dataclass(frozen=True, slots=True)
class EarlyCount:
    """A count that was taken while the caller's token was looked up."""

    key: str
    count: Count


class Throttle(BaseThrottle):
    """Count the requests of one scope. If its rate is off, the request is not counted, and not per address either."""

    scope: str
    limit: Limit

    def allow_request(self, request: Request, view: object) -> bool:
        request._request.META[IS_COUNTED] = True
        rate: Rate | None = getattr(settings, self.limit.settings[0])
        if rate is None:
            return True
        key = self.key(request)
        early: EarlyCount | None = request._request.META.get(EARLY_COUNT)
        counted = early.count if early is not None and early.key == key else self.count(key, rate)
        request._request.META[COUNT] = counted
        self._wait_s = counted.wait_s
        return counted.wait_us == 0

    def key(self, request: Request) -> str:
        return f"throttle:{self.scope}:{self.caller(request)}"

    def caller(self, request: Request) -> str:
        return f"ip-{address_group(request._request)}"

    def count(self, key: str, rate: Rate) -> Count:
        return meter.count(key, rate)

    def wait(self) -> float:
        return self._wait_s


class UserThrottle(Throttle):
    """Count per user, or per address for anonymous callers."""

    def caller(self, request: Request) -> str:
        return f"{USER}{request.user.id}" if request.user else super().caller(request)

    def count_further(self, request: Request, places: int) -> None:
        """Count a request that does as much as several. If there is no room, its first count is undone.

        One that counts for more than the whole limit takes all of it. Raises a 429.
        """
        rate: Rate | None = getattr(settings, self.limit.settings[0])
        further = 0 if rate is None else min(places, rate.requests - 1)
        if rate is None or further <= 0:
            return
        key = self.key(request)
        counted = meter.count(key, rate, further)
        request._request.META[COUNT] = counted
        if counted.wait_us:
            meter.give_place_back(key, rate)
            raise Throttled(wait=counted.wait_s)


def count_early(request: HttpRequest, throttles: Sequence[BaseThrottle]) -> None:
    """Have the only throttle of a request count already when its token is looked up, if that saves a round trip."""
    if len(throttles) == 1 and isinstance(throttle := throttles[0], UserThrottle):
        request.META[EARLY_THROTTLE] = throttle


class AddressLimitMiddleware:
    """Count per address the requests that no view's throttle counts: views without throttles before they run, refusals after.

    A refusal (401, 403, 404, …) is only known after the view has run. It costs little, so it is replaced afterwards.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Another middleware serves static files, without a view.
        if request.path_info.startswith(settings.STATIC_URL) and (refusal := self._count(request)):
            return refusal
        response = self._get_response(request)
        if (counted := request.META.get(COUNT)) is not None:
            _add_rate_headers(response, counted)
        if request.META.get(IS_COUNTED) or response.streaming or response.status_code >= 500:
            return response
        return self._count(request) or response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        has_throttles = bool(getattr(getattr(view, "cls", None), "throttle_classes", None))
        return None if has_throttles else self._count(request)

    def _count(self, request: HttpRequest) -> HttpResponseBase | None:
        """Count a request. Return the response that refuses it, or None if it may go on."""
        request.META[IS_COUNTED] = True
        rate: Rate | None = settings.THROTTLE_ADDRESS
        if rate is None:
            return None
        counted = meter.count(f"throttle:address:ip-{address_group(request)}", rate)
        if counted.wait_us == 0:
            return None
        refusal = error_page(TooManyRequests(retry_after_s=math.ceil(counted.wait_s)))
        _add_rate_headers(refusal, counted)
        return refusal


def _add_rate_headers(response: HttpResponseBase, counted: Count) -> None:
    """Say how many requests are left, so that a client can slow down before it is refused."""
    response["RateLimit-Limit"] = str(counted.rate.requests)
    response["RateLimit-Remaining"] = str(counted.places_left)
    response["RateLimit-Reset"] = str(math.ceil(counted.all_free_s))
