"""/api/health and /api/ready."""

from rest_framework.request import Request

from chatapi import __version__
from chatapi.api.wire import Response
from conversations.readiness import check_readiness
from conversations.surfaces.api.operations import service as operations
from conversations.surfaces.api.responses.service import HealthSchema, ReadinessSchema
from conversations.surfaces.probes import ProbeView
from conversations.surfaces.throttles import ProbeThrottle


class HealthView(ProbeView):
    """Liveness: answers while the process runs. It uses neither the database nor another service."""

    @operations.health
    def get(self, request: Request) -> Response:
        return Response(HealthSchema("ok", ready=True, service="chat-api", version=__version__))


class ReadyView(ProbeView):
    """Readiness: whether requests can be served."""

    throttle_classes = [ProbeThrottle]

    @operations.ready
    def get(self, request: Request) -> Response:
        checks = check_readiness()
        ready = all(result == "ok" for result in checks.values())
        body = ReadinessSchema("ok" if ready else "unavailable", ready, checks)
        return Response(body, status=200 if ready else 503)
