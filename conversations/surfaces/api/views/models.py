"""/api/models: the models of the inference service."""

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.surfaces.api.operations import service as operations
from conversations.surfaces.api.permissions import IsAdmin
from conversations.surfaces.api.requests import SwapBody
from inference_proxy.upstream.model_list import list_allowed_models, swap_loaded_model


class ModelsView(APIView):
    @operations.models
    def get(self, request: Request) -> Response:
        return Response(list_allowed_models())


class ModelSwapView(APIView):
    permission_classes = [IsAuthenticated, IsAdmin]

    @operations.swap_model
    def post(self, request: Request) -> Response:
        body = read_body(SwapBody, request)
        return Response(swap_loaded_model(body.model_tag), status=202)
