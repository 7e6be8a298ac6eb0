"""Health checks, which monitors call without a token."""

from typing import Any

from rest_framework.permissions import AllowAny

from chatapi.throttling import NoThrottle
from chatapi.views import APIView


class ProbeView(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes: list[Any] = [NoThrottle]
