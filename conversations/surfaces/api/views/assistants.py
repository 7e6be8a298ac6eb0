"""/api/assistants: whom one can talk to."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from conversations.models import Assistant
from conversations.surfaces.api import schema
from conversations.surfaces.api.shapes import ASSISTANT_COLUMNS

# Staff write them by hand: there are never so many.
MOST_ASSISTANTS = 500


class AssistantsView(APIView):
    @schema.list_assistants
    def get(self, request: Request) -> Response:
        assistants = Assistant.objects.filter(is_active=True).order_by("name")
        return Response({"items": list(assistants.values(*ASSISTANT_COLUMNS)[:MOST_ASSISTANTS])})
