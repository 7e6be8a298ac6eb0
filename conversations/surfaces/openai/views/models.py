"""/v1/models"""

from rest_framework.request import Request

from chatapi.api.errors import NotFound
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.surfaces.openai import operations
from conversations.surfaces.openai.responses import model_body
from inference_proxy.upstream.model_list import list_allowed_models


class ModelsView(APIView):
    @operations.list_models
    def get(self, request: Request) -> Response:
        return Response({"object": "list", "data": [model_body(tag) for tag in _model_tags()]})


class ModelView(APIView):
    @operations.read_model
    def get(self, request: Request, model: str) -> Response:
        if model not in _model_tags():
            raise NotFound("There is no such model, or you may not use it.")
        return Response(model_body(model))


def _model_tags() -> list[str]:
    return [model["model_tag"] for model in list_allowed_models()["models"]]
