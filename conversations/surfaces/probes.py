"""Health checks, which monitors call without a token."""

from typing import Any

from rest_framework.permissions import AllowAny

from chatapi.api.views import APIView
from conversations.surfaces.throttles import NoThrottle


class ProbeView(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes: list[Any] = [NoThrottle]
