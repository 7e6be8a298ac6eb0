"""/api/assistants: the assistants that users can choose."""

from rest_framework.request import Request

from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.models import Assistant
from conversations.surfaces.api.operations import service as operations
from conversations.surfaces.api.responses.service import AssistantListSchema, AssistantSchema

# Staff write assistants by hand, so there are fewer.
MOST_ASSISTANTS = 500


class AssistantsView(APIView):
    @operations.list_assistants
    def get(self, request: Request) -> Response:
        assistants = Assistant.objects.filter(is_active=True).order_by("name")
        rows = assistants.values(*AssistantSchema.columns)[:MOST_ASSISTANTS]
        return Response(AssistantListSchema(AssistantSchema.from_rows(rows)))
