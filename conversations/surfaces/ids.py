"""The ids in paths."""

from uuid import UUID

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.ids import parse_id


def require_conversation_id(value: str) -> UUID:
    """Parse the id of a conversation. Raises `ConversationNotFound` if it is malformed, because no row has that id."""
    return _require_id(value, ConversationNotFound)


def require_message_id(value: str) -> UUID:
    """Parse the id of a message. Raises `MessageNotFound` if it is malformed, because no row has that id."""
    return _require_id(value, MessageNotFound)


def _require_id(value: str, missing: type[Exception]) -> UUID:
    parsed = parse_id(value)
    if parsed is None:
        raise missing
    return parsed
