"""The Content-Security-Policy of HTML pages: files from this server only, no inline scripts or styles."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# Swagger UI draws its icons as data: images.
POLICY = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)


class ContentSecurityMiddleware:
    """Add the Content-Security-Policy to pages. Answers of the API are no pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            response["Content-Security-Policy"] = POLICY
        return response
