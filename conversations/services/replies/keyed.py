"""Find replies by the key or the question of their request."""

from uuid import UUID

from conversations.models import Message, Role
from conversations.querysets import MessageQuerySet


def find_keyed_reply(messages: MessageQuerySet, key: str) -> Message | None:
    """Return the reply to the request with this key, the newest one of several. None if the key is unknown."""
    keyed = messages.filter(idempotency_key=key).only("id", "role", "parent_id").first()
    if keyed is None or keyed.role == Role.ASSISTANT:
        return keyed
    return newest_reply(messages, keyed.id)


def newest_reply(messages: MessageQuerySet, asked_id: UUID) -> Message | None:
    return messages.filter(parent_id=asked_id).replies().newest_first().only("id", "role", "parent_id").first()
