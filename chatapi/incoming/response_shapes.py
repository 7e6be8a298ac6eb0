"""Give all responses of a surface its own form, also those that are made before its view runs."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from chatapi.incoming.routes import shape_of


class ResponseShapeMiddleware(MiddlewareMixin):
    """Call the `shape_response` of the surface whose prefix the path has (see `routes`)."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if shape := shape_of(request.path_info):
            shape(response)
        return response
