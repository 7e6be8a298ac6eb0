"""Cross-origin requests: django-cors-headers, which reads all headers of a request to find that most have no Origin."""

from corsheaders.middleware import CorsMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers


class CrossOriginMiddleware(CorsMiddleware):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "HTTP_ORIGIN" in request.META or request.method == "OPTIONS":
            return super().__call__(request)  # type: ignore[return-value]
        # What the base class does without an Origin.
        is_enabled = self.is_enabled(request)
        response: HttpResponseBase = self.get_response(request)  # type: ignore[assignment]
        if is_enabled:
            patch_vary_headers(response, ("origin",))
        return response
