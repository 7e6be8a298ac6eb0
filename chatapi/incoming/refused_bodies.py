"""Answer the requests that were refused before a view: their bodies, or because of overload."""

from collections.abc import Callable
from contextlib import suppress

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from chatapi.incoming.error_page import error_page
from chatapi.incoming.request_bodies import ERROR_KEY

View = Callable[[HttpRequest], HttpResponseBase]


class RefuseBodiesMiddleware:
    """Answer requests whose body was refused while it was read (see `request_bodies`)."""

    def __init__(self, get_response: View) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        error = request.META.get(ERROR_KEY)
        if error is None:
            return self._get_response(request)
        _tell_view(request)
        return error_page(error)


def _tell_view(request: HttpRequest) -> None:
    with suppress(Resolver404):
        view = getattr(resolve(request.path_info).func, "cls", None)
        if (note_unseen := getattr(view, "note_unseen", None)) is not None:
            note_unseen(request)
