"""Answer the requests whose bodies were refused."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.incoming.error_page import error_page
from chatapi.incoming.request_bodies import ERROR_KEY

View = Callable[[HttpRequest], HttpResponseBase]


class RefuseBodiesMiddleware:
    """Answer requests whose body was refused while it was read (see `request_bodies`)."""

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        error = request.META.get(ERROR_KEY)
        return self._get_response(request) if error is None else error_page(error)
