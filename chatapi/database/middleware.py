"""Give connections back at the end of each request."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.database.connections import release_connections

View = Callable[[HttpRequest], HttpResponseBase]


class ReleaseConnectionsMiddleware:
    """Give database connections back when the answer is made. Django does so when the client has read it, if it ever does.

    The outermost, because others use the database on the way out.
    """

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self._get_response(request)
        finally:
            release_connections()
