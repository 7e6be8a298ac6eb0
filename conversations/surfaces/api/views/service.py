"""/api/health, /api/ready, /api/models: the service itself."""

from typing import Any

from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chatapi.permissions import IsAdmin
from chatapi.readiness import check_readiness
from chatapi.throttling import ProbeThrottle
from conversations.surfaces.api import schema
from conversations.surfaces.api.serializers import SwapSerializer
from inference_proxy.catalogue import swap_model
from inference_proxy.model_list import list_allowed_models


class HealthView(APIView):
    """Liveness: answers as long as the process does, and touches nothing."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes = [ProbeThrottle]

    @schema.health
    def get(self, request: Request) -> Response:
        return Response({"status": "ok", "ready": True, "service": "chat-api"})


class ReadyView(APIView):
    """Readiness: whether requests can be served."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes = [ProbeThrottle]

    @schema.ready
    def get(self, request: Request) -> Response:
        checks = check_readiness()
        ready = all(result == "ok" for result in checks.values())
        body = {"status": "ok" if ready else "unavailable", "ready": ready, "checks": checks}
        return Response(body, status=200 if ready else 503)


class ModelsView(APIView):
    @schema.models
    def get(self, request: Request) -> Response:
        return Response(list_allowed_models())


class ModelSwapView(APIView):
    permission_classes = [IsAuthenticated, IsAdmin]

    @schema.swap_model
    def post(self, request: Request) -> Response:
        body = SwapSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(swap_model(body.validated_data["model_tag"]), status=202)
