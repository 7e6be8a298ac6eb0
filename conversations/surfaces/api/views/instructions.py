"""/api/me/instructions: what the caller wants the model to be told in all conversations."""

from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.services.instructions import (
    Instructions,
    delete_instructions,
    read_instructions,
    save_instructions,
)
from conversations.surfaces.api.operations import service as operations
from conversations.surfaces.api.requests import InstructionsBody
from conversations.surfaces.api.responses.service import InstructionsSchema
from conversations.surfaces.callers import caller_id


class InstructionsView(APIView):
    @operations.read_instructions
    def get(self, request: Request) -> Response:
        return _respond(read_instructions(user_id=caller_id(request)))

    @operations.save_instructions
    def put(self, request: Request) -> Response:
        body = read_body(InstructionsBody, request)
        return _respond(save_instructions(user_id=caller_id(request), text=body.instructions, is_active=body.is_active))

    @operations.delete_instructions
    def delete(self, request: Request) -> Response:
        delete_instructions(user_id=caller_id(request))
        return Response(status=204)


def _respond(found: Instructions) -> Response:
    return Response(InstructionsSchema(found.text, found.is_active, found.updated_at))
