"""How the primary surface answers a send, an edit and a regeneration: with a reply, delivered as the client asks."""

from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from conversations.surfaces import sending
from conversations.surfaces.api.queries import read_message
from conversations.surfaces.api.requests import SamplingSerializer
from conversations.surfaces.delivery import choose_delivery


def answer_with_reply(
    request: Request, verb: sending.BeginReply, body: SamplingSerializer, *, conversation_id: UUID, **question: Any
) -> HttpResponseBase:
    """Begin a turn with a verb and answer with its reply. `question` has what the verb needs besides the `body`'s settings."""
    chosen = body.validated_data
    return sending.answer_with_reply(
        request,
        verb,
        how=choose_delivery(request, chosen.get("stream")),
        read_message=lambda reply_id: read_message(conversation_id, reply_id),
        when_busy=chosen.get("when_busy"),
        conversation_id=conversation_id,
        sampling=body.sampling(),
        **question,
    )
