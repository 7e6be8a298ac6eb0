"""Where a request goes. Each surface owns what lies below its line."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

# Registers the OpenAPI description of our authentication; here, because commands have no use for it.
from chatapi.api import openapi  # noqa: F401
from conversations.surfaces.try_page import try_page

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/", include("conversations.surfaces.api.urls")),
    path("api/chat", include("conversations.surfaces.ai_sdk.urls")),
    path("api/v1/chat/", include("conversations.surfaces.sessions.urls")),
    path("v1/", include("conversations.surfaces.openai.urls")),
    path("", include("conversations.surfaces.contract.urls")),
    path("", include("conversations.surfaces.completion.urls")),
]
if settings.TRY_PAGE:
    urlpatterns.append(path("", try_page))
if settings.ADMIN_ENABLED:
    urlpatterns.append(path(settings.ADMIN_PATH.removeprefix("/"), admin.site.urls))

handler400 = "chatapi.api.errors.bad_request"
handler404 = "chatapi.api.errors.page_not_found"
handler500 = "chatapi.api.errors.server_error"
