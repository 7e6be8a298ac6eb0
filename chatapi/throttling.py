"""So many requests per user and period, counted in Django's cache: shared between nodes where CACHE_URL is set.

Fixed windows with an atomic counter: two cache calls a request and no race, where DRF's own throttles read, change and
write a list.
"""

import time

from django.conf import settings
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from chatapi.environment import Rate


class UserThrottle(BaseThrottle):
    """Count requests of one scope per user, or per address where nobody is logged in."""

    scope: str
    setting: str

    def allow_request(self, request: Request, view: object) -> bool:
        rate: Rate | None = getattr(settings, self.setting)
        if rate is None:
            return True
        now = time.time()
        window = int(now // rate.period_s)
        self._wait_s = (window + 1) * rate.period_s - now
        who = request.user.id if request.user else f"ip-{request.META.get('REMOTE_ADDR', '')}"
        key = f"throttle:{self.scope}:{who}:{window}"
        cache.add(key, 0, rate.period_s + 5)
        try:
            return bool(cache.incr(key) <= rate.requests)
        except ValueError:
            # The counter was evicted between the two calls: count this request as the first.
            return True

    def wait(self) -> float:
        return self._wait_s


class ReadThrottle(UserThrottle):
    scope = "read"
    setting = "THROTTLE_READ"


class SendThrottle(UserThrottle):
    scope = "send"
    setting = "THROTTLE_SEND"
