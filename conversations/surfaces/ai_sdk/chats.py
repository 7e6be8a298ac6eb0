"""Chats: conversations that a user addresses by a name.

A chat and a session with one name are one conversation. The id of a conversation names it too, so a front-end can open what it
lists on another surface.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from conversations.exceptions import ConversationNotFound, SessionNotFound
from conversations.ids import parse_id
from conversations.models import Conversation
from conversations.services.conversations import require_conversation, update_conversation
from conversations.services.replies.early_stops import mark_early_stop
from conversations.services.sending.first_turns import Opening
from conversations.services.sending.model_tags import require_allowed
from conversations.services.sessions import SESSION_ID_FORM, find_session, open_session


def find_chat(*, name: str, user_id: UUID) -> UUID:
    """Return the conversation of a chat. Raises `ConversationNotFound`. At most two queries."""
    try:
        return find_session(session_id=name, user_id=user_id)
    except SessionNotFound:
        conversation_id = parse_id(name)
    if conversation_id is None:
        raise ConversationNotFound
    require_conversation(conversation_id=conversation_id, user_id=user_id)
    return conversation_id


def find_chat_to_stop(*, name: str, user_id: UUID, key: str) -> UUID | None:
    """Return the conversation of a chat. If there is none, leave a mark for the send that will create it and return None.

    The mark is for the send with this key or, without one, for sends that have arrived. Raises `ConversationNotFound` for a
    name that no chat can have.
    """
    try:
        return find_chat(name=name, user_id=user_id)
    except ConversationNotFound:
        if not SESSION_ID_FORM.fullmatch(name):
            raise
        return mark_early_stop(user_id=user_id, name=name, key=key)


def open_chat(*, name: str, user_id: UUID, model_tag: str | None = None) -> UUID | Opening:
    """Return the conversation of a chat or, before its first use, a function that creates it: see `sending.first_turns`.

    A chat that it creates has the given model.

    Raises `ModelNotAllowed`, `ShuttingDown`, `TooManyReplies`, `UnknownUser`.
    """
    try:
        return find_chat(name=name, user_id=user_id)
    except ConversationNotFound:
        require_allowed(model_tag)
        opened = open_session(session_id=name, user_id=user_id).conversation
        if isinstance(opened, UUID):
            # A simultaneous request has created it in the meantime.
            return opened
        return lambda: _with_model(opened(), user_id, model_tag)


def model_change(chat: UUID | Opening, user_id: UUID, model_tag: str | None) -> Callable[[], object] | None:
    """Return a function that gives a chat the model that it uses from now on, None if it has it. Raises `ModelNotAllowed`."""
    # Clients send the model with each message.
    if not isinstance(chat, UUID) or not model_tag or _has_model(chat, model_tag):
        return None
    require_allowed(model_tag)
    return partial(_use_model, chat, user_id, model_tag)


def _with_model(conversation_id: UUID, user_id: UUID, model_tag: str | None) -> UUID:
    if model_tag and not _has_model(conversation_id, model_tag):
        _use_model(conversation_id, user_id, model_tag)
    return conversation_id


def _use_model(conversation_id: UUID, user_id: UUID, model_tag: str) -> None:
    update_conversation(("id",), conversation_id=conversation_id, user_id=user_id, changes={"model_tag": model_tag})


def _has_model(conversation_id: UUID, model_tag: str) -> bool:
    return Conversation.objects.filter(id=conversation_id, model_tag=model_tag).exists()
