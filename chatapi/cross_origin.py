"""Cross-origin requests: django-cors-headers, which reads all headers of a request to find that most have no Origin."""

from corsheaders.middleware import CorsMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers


class CrossOriginMiddleware(CorsMiddleware):
    def add_response_headers(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if "HTTP_ORIGIN" in request.META:
            return super().add_response_headers(request, response)
        # What the base class does without an Origin.
        if request._cors_enabled:  # type: ignore[attr-defined]
            patch_vary_headers(response, ("origin",))
        return response
