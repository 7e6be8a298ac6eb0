"""/api/schema and /api/docs: the OpenAPI description.

Each process makes it once, because it is the same for all callers and takes 70 ms.
"""

import hashlib
from functools import cache
from typing import Any, cast

from django.http import HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from chatapi.api.views import APIView

RENDERERS = {"yaml": OpenApiYamlRenderer, "json": OpenApiJsonRenderer}


class SchemaView(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    # chatapi.limits.throttling counts requests without a token per address.
    throttle_classes: list[Any] = []

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponseBase:
        form = _choose_form(request)
        body, etag = render_schema(form)
        headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "no-cache"}
        if request.META.get("HTTP_IF_NONE_MATCH") == etag:
            return HttpResponseNotModified(headers=headers)
        headers["Content-Disposition"] = f'inline; filename="Chat API.{form}"'
        return HttpResponse(body, content_type=f"{RENDERERS[form].media_type}; charset=utf-8", headers=headers)


class DocumentationView(SpectacularSwaggerSplitView):
    url_name = "schema"
    throttle_classes: list[Any] = []
    # This view renders pages and has no template for DRF's answer to OPTIONS, so it gives none.
    metadata_class = None


@cache
def render_schema(form: str) -> tuple[bytes, str]:
    """Return the description as `yaml` or `json`, and its ETag."""
    described = SchemaGenerator().get_schema(request=None, public=True)
    body = cast(bytes, RENDERERS[form]().render(described, renderer_context={}))
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _choose_form(request: Request) -> str:
    wanted = request.query_params.get("format")
    return wanted if wanted in RENDERERS else "json" if "json" in request.META.get("HTTP_ACCEPT", "") else "yaml"
