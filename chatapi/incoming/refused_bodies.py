"""Answer the requests that were refused before a view: their bodies, or because of overload."""

from contextlib import suppress

from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve
from django.utils.deprecation import MiddlewareMixin

from chatapi.incoming.error_page import error_page
from chatapi.service_error import ERROR_KEY


class RefuseBodiesMiddleware(MiddlewareMixin):
    """Answer requests whose body was refused while it was read (see `request_bodies`)."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        error = request.META.get(ERROR_KEY)
        if error is None:
            return None
        with suppress(Resolver404):
            view = getattr(resolve(request.path_info).func, "cls", None)
            if (note_unseen := getattr(view, "note_unseen", None)) is not None:
                note_unseen(request)
        return error_page(error)
