"""Chats: conversations that a user addresses by a name.

A chat and a session with one name are one conversation. The id of a conversation names it too, so a front-end can open what it
lists on another surface.
"""

from uuid import UUID

from conversations.exceptions import ConversationNotFound, SessionNotFound
from conversations.ids import parse_id
from conversations.models import Conversation
from conversations.services.conversations import require_conversation, update_conversation
from conversations.services.model_tags import require_allowed
from conversations.services.sessions import find_session, open_session


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


def open_chat(*, name: str, user_id: UUID, model_tag: str | None = None) -> UUID:
    """Return the conversation of a chat. Create it at its first use. A given model is used from now on.

    Raises `ModelNotAllowed`, `ShuttingDown`, `TooManyReplies`, `UnknownUser`.
    """
    try:
        conversation_id = find_chat(name=name, user_id=user_id)
    except ConversationNotFound:
        # Otherwise the chat would be created although its first message is refused.
        require_allowed(model_tag)
        conversation_id = open_session(session_id=name, user_id=user_id)
    # Clients send the model with each message.
    if model_tag and not Conversation.objects.filter(id=conversation_id, model_tag=model_tag).exists():
        update_conversation(("id",), conversation_id=conversation_id, user_id=user_id, changes={"model_tag": model_tag})
    return conversation_id
