"""Decide what a request of the AI SDK wants: a new question, an edit of one, or another answer.

Clients of the AI SDK surface choose the ids of their messages, and keep the id of a message that they edit, or send another
message in its place. They repeat a send that failed as another kind of request, often without knowing whether the service has
the question. So the service decides by what it has: an unknown question is sent, one with another text is edited, and one with
the same text gets another answer. A send stores the client's id as the idempotency key of its message.

`before` is what the client shows before the question (see `shown_history`). If it is None, a new question follows the newest
message. `outputs` are those of tools in the answer before it. The client has not sent them yet, if it went on without them.
"""

from dataclasses import replace
from typing import Any
from uuid import UUID

from conversations.exceptions import GenerationInProgress
from conversations.ids import parse_id
from conversations.models import Message, Role
from conversations.querysets import MessageQuerySet
from conversations.services.replies.versions import first_version, versions_of_question
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.services.sending.brought_messages import send_turn_behind
from conversations.services.sending.turn import Terms, Turn
from conversations.surfaces.ai_sdk.requests import Shown
from conversations.surfaces.ai_sdk.shown_history import find_first_question, find_place
from conversations.surfaces.ai_sdk.tool_parts import Outputs
from conversations.surfaces.ai_sdk.tool_results import unsent_outputs
from inference_proxy.protocols.base import Sampling


def answer_first(*, conversation_id: UUID, idempotency_key: str, before: list[Shown] | None, **question: Any) -> Turn:
    """Send a question, or follow the turn of an earlier request that has sent it.

    Raises `HistoryMismatch`, and what `send_turn` and `edit_turn` raise.
    """
    messages = Message.objects.in_conversation(conversation_id)
    known = _find_question(messages, idempotency_key) if before is not None else None
    return _send(messages, known, before, conversation_id=conversation_id, idempotency_key=idempotency_key, **question)


def answer_again(
    *,
    conversation_id: UUID,
    user_id: UUID | None,
    idempotency_key: str,
    content: str,
    sampling: Sampling,
    before: list[Shown] | None,
    outputs: Outputs,
    terms: Terms,
    is_edit: bool,
) -> Turn:
    """Begin another reply to the question that the client calls `idempotency_key`, with this text.

    If it `is_edit` and a reply to this very text is running, return its turn. Raises `HistoryMismatch`, and what `send_turn`,
    `edit_turn` and `regenerate_turn` raise.
    """
    messages = Message.objects.in_conversation(conversation_id)
    known = _find_question(messages, idempotency_key)
    request: dict[str, Any] = {
        "conversation_id": conversation_id,
        "user_id": user_id,
        "sampling": sampling,
        "terms": terms,
    }
    if known is None:
        # The request that should have sent it failed on its way.
        return _send(messages, None, before, outputs=outputs, idempotency_key=idempotency_key, content=content, **request)
    if before:
        find_place(messages, before, known_id=first_version(known))
    # A client that asks for another answer shows this text.
    version = _find_version(messages, known, "" if is_edit else content)
    if is_edit and (running := _running_turn(messages, version, content)):
        return running
    try:
        if version.content == content:
            return regenerate_turn(message_id=version.id, **request)
        return edit_turn(message_id=version.id, content=content, **request)
    except GenerationInProgress:
        # A simultaneous request may have made the same edit.
        if is_edit and (running := _running_turn(messages, _find_version(messages, known, ""), content)):
            return running
        raise


def _send(
    messages: MessageQuerySet,
    known: Message | None,
    before: list[Shown] | None,
    *,
    outputs: Outputs,
    terms: Terms,
    **question: Any,
) -> Turn:
    after = find_place(messages, before, known_id=first_version(known) if known else None) if before else None
    if before == []:
        # A conversation has one first question. Another one is a version of it, also when its request is repeated.
        first_id = find_first_question(messages) if known is None else known.parent_id
        if first_id is not None:
            return edit_turn(message_id=first_id, terms=terms, **question)
    if after is None:
        return send_turn(terms=terms, **question)
    terms = replace(terms, after=after)
    if outputs and (unsent := unsent_outputs(messages, after, outputs)):
        return send_turn_behind(brought=unsent, terms=terms, **question)
    return send_turn(terms=terms, **question)


def _find_question(messages: MessageQuerySet, name: str) -> Message | None:
    """Return the question with this name: its idempotency key or its id. None if it is unknown."""
    questions = messages.filter(role=Role.USER, tool_calls__isnull=True).only("id", "parent_id")
    found = questions.filter(idempotency_key=name).first()
    message_id = parse_id(name)
    if found is None and message_id is not None:
        found = questions.filter(id=message_id).first()
    return found


def _find_version(messages: MessageQuerySet, known: Message, preferred: str) -> Message:
    """Return the version of a question that the client shows: with the preferred text, else active, else the last active one.

    A version that was sent under another name is another question to the client.
    """
    versions = versions_of_question(messages, known).oldest_first()
    found = versions.only("id", "conversation_id", "parent_id", "content", "is_active", "left_order", "idempotency_key")
    ours = [each for each in found if each.id == known.id or each.idempotency_key is None]
    return max(
        enumerate(ours), key=lambda item: (item[1].content == preferred, item[1].is_active, item[1].left_order or 0, item[0])
    )[1]


def _running_turn(messages: MessageQuerySet, asked: Message, content: str) -> Turn | None:
    """Return the turn of the running reply to this question, if there is one and the question has this text."""
    if asked.content != content:
        return None
    running_id = messages.running().filter(parent_id=asked.id).values_list("id", flat=True).first()
    if running_id is None:
        return None
    return Turn(conversation_id=asked.conversation_id, user_message_id=asked.id, reply_id=running_id, request=None)
