"""Create, change and delete conversations."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.utils import timezone

from conversations.exceptions import ConversationNotFound, ModelNotAllowed
from conversations.models import (
    DEFAULT_MODEL_TAG,
    DEFAULT_TITLE,
    TEMPORARY_LIFETIME,
    Conversation,
    Message,
    TitleSource,
    new_id,
)
from conversations.services.assistants import find_assistant
from conversations.services.model_tags import may_choose, require_allowed
from conversations.services.turns.stop import stop_running_reply
from conversations.services.turns.titles import is_unnamed_title
from conversations.services.user_directory import requires_known_user

DELETION_BATCH = 100


def create_conversation(
    *,
    user_id: UUID | None,
    title: str | None = None,
    model_tag: str | None = None,
    assistant_id: str | None = None,
    temporary: bool = False,
) -> Conversation:
    """Create a conversation. Without a title, or with one of UNNAMED_TITLES, it gets its title from the first message.

    A temporary conversation is in no list and expires a day after its last turn. Raises `AssistantNotFound`, `UnknownUser`,
    `ModelNotAllowed`.
    """
    require_allowed(model_tag)
    assistant = None if assistant_id is None else find_assistant(assistant_id)
    with requires_known_user():
        return Conversation.objects.create(
            id=new_id(),
            user_id=user_id,
            title=title if title and title.strip() else DEFAULT_TITLE,
            title_source=TitleSource.DEFAULT if is_unnamed_title(title) else TitleSource.USER,
            model_tag=model_tag or DEFAULT_MODEL_TAG,
            assistant=assistant,
            expires_at=timezone.now() + TEMPORARY_LIFETIME if temporary else None,
        )


def update_conversation(*, conversation_id: UUID, user_id: UUID | None, changes: dict[str, Any]) -> None:
    """Change `title`, `model_tag` or `is_favorited`. Raises `ConversationNotFound`, `ModelNotAllowed`.

    `updated_at` stays, because it is the time of the last turn, by which lists are sorted and history is pruned.
    """
    if "title" in changes:
        changes = {**changes, "title_source": TitleSource.USER}
    conversations = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    # A client may send the whole conversation back unchanged, with a model that is no longer allowed.
    model_tag = changes.get("model_tag", "")
    if not may_choose(model_tag) and not conversations.filter(model_tag=model_tag).exists():
        raise ModelNotAllowed
    found = conversations.update(**changes) if changes else conversations.count()
    if not found:
        raise ConversationNotFound


def delete_conversation(*, conversation_id: UUID, user_id: UUID | None) -> None:
    """Stop the running reply of a conversation and delete it with its messages. Raises `ConversationNotFound`."""
    conversations = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    if not conversations.exists():
        raise ConversationNotFound
    stop_running_reply(conversation_id)
    # ON DELETE CASCADE in the database deletes the messages.
    conversations.delete()


def stop_running_replies(*, conversation_ids: Sequence[UUID]) -> None:
    """Stop the running replies of these conversations. Do not call in a transaction: it waits for other workers."""
    running = Message.objects.running().filter(conversation_id__in=conversation_ids)
    for conversation_id in list(running.values_list("conversation_id", flat=True)):
        stop_running_reply(conversation_id)


def delete_conversations(*, conversation_ids: Sequence[UUID]) -> None:
    """Stop the running replies of these conversations of any users, and delete the conversations with their messages.

    Unknown ids are ignored. Do not call in a transaction: it waits for other workers.
    """
    for start in range(0, len(conversation_ids), DELETION_BATCH):
        batch = conversation_ids[start : start + DELETION_BATCH]
        stop_running_replies(conversation_ids=batch)
        # ON DELETE CASCADE in the database deletes the messages.
        Conversation.objects.filter(id__in=batch).delete()
