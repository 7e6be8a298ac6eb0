"""The page at `/`, on which a person can try the service in a browser. It is an example of a client: `examples/page`."""

from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


@require_safe
def try_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_read_page(), headers={"Cache-Control": "no-cache"})


@cache
def _read_page() -> bytes:
    page: bytes = (settings.BASE_DIR / "examples" / "page" / "index.html").read_bytes()
    return page
