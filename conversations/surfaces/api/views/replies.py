"""How the primary surface responds to a send, an edit and a regeneration: with a reply, delivered as the client asks."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from msgspec import UNSET
from rest_framework.request import Request

from conversations.services.assistants import find_assistant
from conversations.services.sending.model_tags import require_allowed
from conversations.services.sending.turn import Terms
from conversations.surfaces import sending
from conversations.surfaces.api.queries import read_message
from conversations.surfaces.api.requests import SamplingBody, SendBody
from conversations.surfaces.reply_delivery import choose_delivery


def respond_as_asked(
    request: Request, begin: sending.BeginTurn, body: SamplingBody | SendBody, *, conversation_id: UUID, **question: Any
) -> HttpResponseBase:
    """Begin a turn and respond with its reply. `question` has what `begin` needs besides the `body`'s settings."""
    return sending.respond_with_reply(
        request,
        begin,
        delivery=choose_delivery(request, None if body.stream is UNSET else body.stream),
        read_message=lambda reply_id: read_message(conversation_id, reply_id),
        when_busy=body.when_busy,
        conversation_id=conversation_id,
        sampling=body.sampling(),
        terms=_read_terms(body),
        **question,
    )


def _read_terms(body: SamplingBody | SendBody) -> Terms:
    """Return what the request chooses for this reply only. Raises `ModelNotAllowed`, `AssistantNotFound`."""
    model_tag = body.model_tag or ""
    require_allowed(model_tag)
    offered = body.sampling().tools
    return Terms(
        model_tag=model_tag,
        assistant=None if body.assistant_id is None else find_assistant(body.assistant_id),
        options={"tools": offered} if offered else None,
    )


def chosen_in(body: SamplingBody) -> dict[str, Any]:
    """Return what a request changes in the settings of a message that waits. Raises as `_read_terms` does."""
    terms = _read_terms(body)
    sampling = {name: value for name, value in asdict(body.sampling()).items() if value not in (None, False)}
    return {"sampling": sampling, **terms.choices()}
