"""Go on after calls of tools, whose outputs the client has written into the answer that it shows.

The client sends what it shows, so a request that is repeated, and one from a page that is behind, bring outputs that are stored
already. Their content identifies them: each set of outputs of a reply has one key.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from uuid import UUID

from rest_framework.request import Request

from conversations.exceptions import HistoryMismatch, ToolOutputMismatch
from conversations.models import Message, Role
from conversations.querysets import MessageQuerySet
from conversations.services.sending.brought_messages import Said, send_turn_behind
from conversations.services.sending.retries import fingerprint_of
from conversations.services.sending.turn import Terms, Turn
from conversations.surfaces.ai_sdk.chats import model_change
from conversations.surfaces.ai_sdk.requests import Shown, SubmitBody, ToolResults
from conversations.surfaces.ai_sdk.shown_history import find_place, find_replies
from conversations.surfaces.ai_sdk.tool_parts import Outputs, said_by
from conversations.surfaces.reply_delivery import Delivery
from conversations.surfaces.request_weights import sends_for
from conversations.surfaces.sending import begin_turn
from conversations.surfaces.throttles import SendThrottle
from inference_proxy.protocols.tool_calls import read_calls


class Round(NamedTuple):
    """A reply that calls tools, and all outputs of its calls."""

    reply_id: UUID
    said: Sequence[Said]


def answer_outputs(request: Request, body: SubmitBody, results: ToolResults, conversation_id: UUID, user_id: UUID) -> Turn:
    """Begin the reply to outputs of tools, or follow the one that an earlier request with the same outputs has begun.

    Raises `HistoryMismatch`, `ToolOutputMismatch`, and what `send_turn` raises.
    """
    reply_id, said = _find_round(Message.objects.in_conversation(conversation_id), results)
    *brought, last = said
    SendThrottle().count_further(request, sends_for(len(brought), sum(each.size for each in said)))
    fingerprint = fingerprint_of("outputs", str(reply_id), [[each.call_id, each.form, each.content] for each in said])
    offered = body.offered()
    terms = Terms(
        after=reply_id,
        fingerprint=fingerprint,
        options=offered and {"tools": offered},
        call_id=last.call_id,
        output_form=last.form,
    )
    return begin_turn(
        request,
        partial(send_turn_behind, brought=brought),
        delivery=Delivery.EVENTS,
        conversation_id=conversation_id,
        change=model_change(conversation_id, user_id, body.model),
        user_id=user_id,
        idempotency_key=f"outputs-{fingerprint}",
        when_busy=body.when_busy,
        content=last.content,
        sampling=body.sampling(),
        terms=terms,
    )


def unsent_outputs(messages: MessageQuerySet, last_id: UUID, outputs: Outputs) -> list[Said]:
    """Return the outputs of the message that a question follows, if that is a reply with calls, and each has an output."""
    stored = messages.filter(id=last_id, role=Role.ASSISTANT).values_list("tool_calls", flat=True).first()
    calls = read_calls(stored)
    return said_by(calls, outputs) if calls else []


def count_unsent_outputs(request: Request, conversation_id: UUID, before: Sequence[Shown], outputs: Outputs) -> None:
    """Count a question as several sends if it brings long outputs that are not stored yet. Raises a 429.

    Not where the turn begins: that may be in a transaction, and the count asks the shared cache. Most questions cost no query.
    """
    if not sends_for(0, sum(len(output.text) for output in outputs.values())):
        return
    messages = Message.objects.in_conversation(conversation_id)
    # What does not agree with the stored messages is refused later.
    with suppress(HistoryMismatch):
        last_id = find_place(messages, before, known_id=None)
        unsent = unsent_outputs(messages, last_id, outputs) if last_id is not None else ()
        SendThrottle().count_further(request, sends_for(len(unsent), sum(said.size for said in unsent)))


def _find_round(messages: MessageQuerySet, results: ToolResults) -> Round:
    """Return the newest reply whose calls all have outputs. The client has not seen later ones."""
    replies = find_replies(messages, results.shown)
    stored = dict(messages.filter(id__in=replies, tool_calls__isnull=False).values_list("id", "tool_calls"))
    for reply_id in reversed(replies):
        calls = read_calls(stored.get(reply_id))
        if calls and (said := said_by(calls, results.outputs)):
            return Round(reply_id, said)
    raise ToolOutputMismatch
