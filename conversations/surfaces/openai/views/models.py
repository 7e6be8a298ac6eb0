"""/v1/models"""

from django.conf import settings
from rest_framework.request import Request

from chatapi.api.errors import NotFound
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.models import DEFAULT_MODEL_TAG
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
        tags = _model_tags()
        if model not in tags and settings.MODEL_ALIASES.get(model) not in (*tags, DEFAULT_MODEL_TAG):
            raise NotFound("There is no such model, or you may not use it.")
        return Response(model_body(model))


def _model_tags() -> list[str]:
    return [model["model_tag"] for model in list_allowed_models()["models"]]
