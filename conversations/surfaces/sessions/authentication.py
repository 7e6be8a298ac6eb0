"""Authentication that may be missing: whoever can't show a valid token is anonymous."""

from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from chatapi.authentication import BearerAuthentication, Caller


class OptionalBearerAuthentication(BearerAuthentication):
    """Take a token that is not valid for none. One that can't be checked right now is still a 503: it may be valid."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            return None
