"""Conversations that begin with a history which a client brings, and items that it adds."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from conversations.exceptions import ConversationNotFound, GenerationInProgress
from conversations.models import DEFAULT_MODEL_TAG, DEFAULT_TITLE, TEMPORARY_LIFETIME, Conversation, Message
from conversations.new_ids import new_id
from conversations.services.sending.brought_messages import BROUGHT, Said, add_messages, rows_of, save_rows
from conversations.services.sending.model_tags import require_allowed
from conversations.services.sending.permits import refuse_while_ending
from conversations.services.user_directory import requires_known_user
from inference_proxy.protocols.tool_calls import read_call_id, read_calls

# The packages repeat a request twice, a few seconds after it failed.
REPEATED_WITHIN = timedelta(minutes=1)


def open_conversation(
    *,
    user_id: UUID,
    history: Sequence[Said] = (),
    model_tag: str = "",
    metadata: dict[str, str] | None = None,
    is_listed: bool = False,
    temporary: bool = False,
    key: str = "",
) -> UUID:
    """Create a conversation that begins with `history`, oldest first, and return its id.

    With a `key`, requests with this key open one conversation, and the later ones get its id. Raises `ModelNotAllowed`,
    `ShuttingDown`, `UnknownUser`.
    """
    refuse_while_ending()
    require_allowed(model_tag)
    conversation = Conversation(
        id=new_id(),
        user_id=user_id,
        title=DEFAULT_TITLE,
        model_tag=model_tag or DEFAULT_MODEL_TAG,
        # No path of the session surface can have this form.
        session_id=f"responses/{hashlib.sha256(key.encode()).hexdigest()}" if key else None,
        is_listed=is_listed,
        metadata=metadata or None,
        expires_at=timezone.now() + TEMPORARY_LIFETIME if temporary else None,
    )
    with requires_known_user(), transaction.atomic():
        found_id = _create_once(conversation)
        if found_id == conversation.id:
            save_rows(rows_of(found_id, history, TransactionNow()))
    return found_id


def add_items(*, conversation_id: UUID, user_id: UUID, said: Sequence[Said], is_repeated: bool = False) -> list[UUID]:
    """Add messages that a client brought at the end of a user's conversation, and return their ids.

    If the request `is_repeated` by its client library, and the conversation ends with the same messages, brought within the
    last minute, return those. Raises `ConversationNotFound`, `GenerationInProgress`.
    """
    with transaction.atomic():
        theirs = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
        if theirs.select_for_update(no_key=True).values_list("id", flat=True).first() is None:
            raise ConversationNotFound
        if is_repeated and (added := _just_added(conversation_id, said)):
            return added
        running_id = Message.objects.in_conversation(conversation_id).running().values_list("id", flat=True).first()
        if running_id is not None:
            raise GenerationInProgress(running_id)
        theirs.update(updated_at=TransactionNow())
        return add_messages(conversation_id, said)


def _just_added(conversation_id: UUID, said: Sequence[Said]) -> list[UUID]:
    """Return the ids of the last messages of a conversation, if they say this and were brought just now; else none."""
    recent = Message.objects.in_conversation(conversation_id).active_branch().newest_first()
    brought = recent.filter(source=BROUGHT, created_at__gte=Now() - REPEATED_WITHIN)
    rows = list(recent.values_list("id", "role", "content", "tool_calls")[: len(said)])[::-1]
    are_new = brought.filter(id__in=[row[0] for row in rows]).count() == len(said)
    return [row[0] for row in rows] if are_new and [_said_in(*row[1:]) for row in rows] == list(said) else []


def _said_in(role: str, content: str, tool_calls: str | None) -> Said:
    call_id = read_call_id(tool_calls)
    return Said("tool" if call_id else cast(Any, role), content, read_calls(tool_calls), call_id)


def _create_once(conversation: Conversation) -> UUID:
    if conversation.session_id is None:
        conversation.save(force_insert=True)
        return conversation.id
    keyed = Conversation.objects.owned_by(conversation.user_id).filter(session_id=conversation.session_id)
    # An expired conversation keeps its key until it is pruned.
    keyed.filter(expires_at__lte=Now()).make_way()
    # Of simultaneous requests, the unique index lets one create it. The others wait for that one and find its row.
    Conversation.objects.bulk_create([conversation], ignore_conflicts=True)
    return keyed.values_list("id", flat=True).get()
