"""The classes that every API view derives from: the REST framework's, without its choice among parsers and renderers.

There is one form, JSON, so nothing is chosen. Authentication, permissions and throttles run as usual.
"""

from typing import Any

from django.http import HttpRequest
from rest_framework import views, viewsets
from rest_framework.parsers import BaseParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from chatapi.api.wire import StrictJSONParser
from chatapi.limits.throttling import count_early

# Only Django's page of a failure, with DEBUG, asks for it: our responses render themselves.
RENDERER = JSONRenderer()
ONLY_WITH_TOKEN = [IsAuthenticated]


class APIView(views.APIView):
    parser: StrictJSONParser = StrictJSONParser()

    @classmethod
    def needs_token(cls) -> bool:
        """Return whether every request without an Authorization header is refused, so that its body need not be read."""
        return IsAuthenticated in cls.permission_classes

    @classmethod
    def note_unseen(cls, request: HttpRequest) -> None:
        """Hear of a request that was refused before this view, by its body's size or by overload."""

    def get_parsers(self) -> list[BaseParser]:
        return [self.parser]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        request.accepted_renderer, request.accepted_media_type = RENDERER, RENDERER.media_type
        # A refusal by any other permission must not count for the user.
        if self.permission_classes == ONLY_WITH_TOKEN:
            count_early(request._request, self.get_throttles())
        self.perform_authentication(request)
        self.check_permissions(request)
        self.check_throttles(request)

    @property
    def default_response_headers(self) -> dict[str, str]:
        # Kept, because finding the methods again costs a request 3 µs. A view set has one set of them per path.
        actions = tuple(getattr(self, "action_map", None) or ())
        key = type(self), actions
        if key not in _allowed_methods:
            _allowed_methods[key] = ", ".join(self.allowed_methods)
        return {"Allow": _allowed_methods[key]}


class ViewSet(viewsets.ViewSet, APIView):
    pass


_allowed_methods: dict[tuple[type[APIView], tuple[str, ...]], str] = {}
