"""Health checks, which monitors call without a token."""

from typing import Any

from rest_framework.permissions import AllowAny
from rest_framework.views import APIView

from chatapi.throttling import ProbeThrottle


class ProbeView(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes = [ProbeThrottle]
