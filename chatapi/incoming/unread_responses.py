"""How much memory responses may take that their clients have not read.

An answer stays in memory until its client has read it, and a page of messages is up to 4 MiB of text. A client may be slow, but
it can also ask again and again and read nothing. So there are permits for large answers. The fewer of them are free, the fewer
may one reader hold, so that a few accounts can't take them all: a reader who holds none gets one as long as any is free.
"""

import math
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.incoming.error_page import error_page
from chatapi.permits.limit import Limit
from chatapi.permits.permit import Held, Permits
from chatapi.service_error import ServiceError

LARGE_RESPONSE_BYTES = 256 * 1024
PLACES_PER_USER = 8
PLACES = 64


class TooManyUnreadResponses(ServiceError):
    code = "throttled"
    status = 429
    detail = "Too many large answers have not been read yet. Read them, then try again."


LIMIT = Limit(
    what=f"responses over {LARGE_RESPONSE_BYTES // 1024} KiB that were not read yet: {PLACES}",
    per=f"worker; a user, else an address, gets {PLACES_PER_USER}, and fewer while few are free",
    refusal=TooManyUnreadResponses,
    retry_after_s=5,
)


def _fits(held: Held) -> bool:
    # A reader's share is in proportion to the free places: PLACES_PER_USER while all are free, and never less than one.
    free = PLACES - held.in_all
    return free > 0 and held.of_key < max(1, math.ceil(PLACES_PER_USER * free / PLACES))


class UnreadResponsesMiddleware:
    """Refuse a large answer where too many others are still unread. Streams and files are not counted: they hold little."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._unread = Permits(LIMIT, _fits)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if response.streaming or len(getattr(response, "content", b"")) <= LARGE_RESPONSE_BYTES:
            return response
        user = getattr(request, "user", None)
        reader = str(getattr(user, "pk", None) or request.META.get("REMOTE_ADDR", ""))
        permit = self._unread.take(reader)
        if permit is None:
            return error_page(LIMIT.refuse())
        # Called when the server has sent the answer, or has given up sending it.
        response._resource_closers.append(permit.release)  # type: ignore[attr-defined]
        return response
