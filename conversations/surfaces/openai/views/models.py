"""/v1/models"""

from rest_framework.request import Request

from chatapi.views import APIView
from chatapi.wire import Response
from conversations.surfaces.openai import operations
from conversations.surfaces.openai.responses import model_body
from inference_proxy.model_list import list_allowed_models


class ModelsView(APIView):
    @operations.list_models
    def get(self, request: Request) -> Response:
        tags = [model["model_tag"] for model in list_allowed_models()["models"]]
        return Response({"object": "list", "data": [model_body(tag) for tag in tags]})
