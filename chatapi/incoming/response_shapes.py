"""Give all responses of a surface its own form, also those that are made before its view runs."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatapi.incoming.routes import shape_of


class ResponseShapeMiddleware:
    """Call the `shape_response` of the surface whose prefix the path has (see `routes`)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if shape := shape_of(request.path_info):
            shape(response)
        return response
