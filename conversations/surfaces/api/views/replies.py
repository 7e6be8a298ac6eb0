"""How the primary surface answers a send, an edit and a regeneration: with a reply, delivered as the client asks."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from conversations.services.assistants import find_assistant
from conversations.services.sending.model_tags import require_allowed
from conversations.services.sending.turn import Terms
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
        terms=_read_terms(chosen),
        **question,
    )


def _read_terms(chosen: dict[str, Any]) -> Terms:
    """Return what the request chooses for this reply only. Raises `ModelNotAllowed`, `AssistantNotFound`."""
    model_tag, assistant_id = chosen.get("model_tag") or "", chosen.get("assistant_id")
    require_allowed(model_tag)
    return Terms(model_tag=model_tag, assistant=None if assistant_id is None else find_assistant(assistant_id))


def chosen_in(body: SamplingSerializer) -> dict[str, Any]:
    """Return what a request changes in the settings of a message that waits. Raises as `_read_terms` does."""
    terms = _read_terms(body.validated_data)
    sampling = {name: value for name, value in asdict(body.sampling()).items() if value not in (None, False)}
    return {"sampling": sampling, **terms.choices()}
