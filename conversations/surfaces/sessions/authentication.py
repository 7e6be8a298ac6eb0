"""Optional authentication: a caller without a valid token is anonymous."""

from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from chatapi.auth.authentication import BearerAuthentication
from chatapi.auth.caller import Caller

# In the META of a request: its caller sent a token that is not valid.
WAS_REFUSED = "chatapi.was_refused"


class OptionalBearerAuthentication(BearerAuthentication):
    """Treat an invalid token like a missing one. A token that can't be checked now may be valid, so it is still a 503."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            request._request.META[WAS_REFUSED] = True
            return None
