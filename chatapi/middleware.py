"""What happens to every request before and after its view."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.database import release_connections
from chatapi.errors import problem_page
from chatapi.request_bodies import PROBLEM_KEY

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


class RefuseBodiesMiddleware:
    """Answer requests whose body was refused while it was read (see `request_bodies`)."""

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        problem = request.META.get(PROBLEM_KEY)
        return self._get_response(request) if problem is None else problem_page(problem)
