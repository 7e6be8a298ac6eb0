"""Create, change and delete conversations."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Q, UUIDField, Value
from django.db.models.functions import Now
from django.utils import timezone

from conversations.exceptions import ConversationNotFound, ModelNotAllowed
from conversations.models import (
    DEFAULT_MODEL_TAG,
    DEFAULT_TITLE,
    TEMPORARY_LIFETIME,
    Conversation,
    Message,
    TitleSource,
)
from conversations.new_ids import new_id
from conversations.prepared_statements import Delete, Insert, PreparedStatement, Rows, Update
from conversations.querysets import ConversationQuerySet
from conversations.services.assistants import find_assistant
from conversations.services.history.holds import refuse_held, refusing_held
from conversations.services.replies.queued_rows import drop_queue
from conversations.services.replies.stop import stop_running_reply
from conversations.services.sending.creation_keys import create_once
from conversations.services.sending.model_tags import may_choose, require_allowed
from conversations.services.sending.titles import is_unnamed_title
from conversations.services.user_directory import requires_known_user
from conversations.tags import tag_columns
from conversations.visible_text import is_blank

DELETION_BATCH = 100


class Created(NamedTuple):
    """The columns of a conversation, and whether an earlier request with the same key has created it."""

    row: dict[str, Any]
    is_replay: bool = False


def create_conversation(
    columns: tuple[str, ...],
    *,
    user_id: UUID | None,
    title: str | None = None,
    model_tag: str | None = None,
    assistant_id: str | None = None,
    temporary: bool = False,
    is_archived: bool = False,
    tags: Sequence[str] = (),
    idempotency_key: str = "",
) -> Created:
    """Create a conversation and return these columns. Requests of a user with one key create one conversation.

    Without a title, or with one of UNNAMED_TITLES, it gets its title from the first message. A temporary conversation is in no
    list and expires a day after its last turn. Raises `AssistantNotFound`, `UnknownUser`, `ModelNotAllowed`,
    `IdempotencyMismatch`. Without a key: one query, and one for an assistant.
    """
    require_allowed(model_tag)
    assistant = None if assistant_id is None else find_assistant(assistant_id)

    def insert(returned: tuple[str, ...]) -> dict[str, Any]:
        (row,) = _insert(
            returned,
            id=new_id(),
            user_id=user_id,
            title=DEFAULT_TITLE if title is None or is_blank(title) else title,
            title_source=TitleSource.DEFAULT if is_unnamed_title(title) else TitleSource.USER,
            model_tag=model_tag or DEFAULT_MODEL_TAG,
            assistant_id=assistant and assistant.id,
            expires_at=timezone.now() + TEMPORARY_LIFETIME if temporary else None,
            is_archived=is_archived,
            **tag_columns(tags),
        )
        return row

    with requires_known_user():
        if not idempotency_key or user_id is None:
            return Created(insert(columns))
        request: list[object] = [title, model_tag, assistant_id, temporary]
        if is_archived or tags:
            # Only if they are given: nodes of the version before, which do not know them, then recognise the request.
            request += [is_archived, *tags]
        made = create_once(user_id, idempotency_key, request, lambda: insert(("id",))["id"])
    row = update_conversation(columns, conversation_id=made.id, user_id=user_id, changes={})
    return Created(row, is_replay=made.is_replay)


@PreparedStatement
def _insert(columns: tuple[str, ...], **row: Any) -> Insert:
    # It has no reply yet: looking for one is a tenth of the statement's time.
    created: Rows = Conversation.objects.annotate(running_message_id=Value(None, output_field=UUIDField())).values(*columns)
    return Insert(created, row)


def update_conversation(
    columns: tuple[str, ...], *, conversation_id: UUID, user_id: UUID | None, changes: dict[str, Any]
) -> dict[str, Any]:
    """Change `title`, `model_tag`, `is_favorited`, `is_archived` or `tags` and return these columns.

    Raises `ConversationNotFound`, `ModelNotAllowed`.

    `updated_at` stays, because it is the time of the last turn, by which lists are sorted and history is pruned. One query, and
    one for a model that is not allowed.
    """
    if "title" in changes:
        changes = {**changes, "title_source": TitleSource.USER}
    if "tags" in changes:
        changes = {**changes, **tag_columns(changes["tags"])}
    # A client may send the whole conversation back unchanged, with a model that is no longer allowed.
    model_tag = changes.get("model_tag", "")
    if not may_choose(model_tag) and not _has_model(conversation_id, user_id, model_tag):
        raise ModelNotAllowed
    rows = _update(columns, conversation_id=conversation_id, user_id=user_id, **changes)
    if not rows:
        raise ConversationNotFound
    return rows[0]


def lock_conversation(columns: tuple[str, ...], *, conversation_id: UUID, user_id: UUID | None) -> dict[str, Any]:
    """Lock a conversation until the transaction ends, and return these columns. Raises `ConversationNotFound`. One query."""
    found = Conversation.objects.visible_to(user_id).filter(id=conversation_id).select_for_update(no_key=True)
    row = _returned(found, columns).first()
    if row is None:
        raise ConversationNotFound
    return row


def _has_model(conversation_id: UUID, user_id: UUID | None, model_tag: str) -> bool:
    return Conversation.objects.visible_to(user_id).filter(id=conversation_id, model_tag=model_tag).exists()


@PreparedStatement
def _update(columns: tuple[str, ...], conversation_id: UUID, user_id: UUID | None, **changes: Any) -> Rows | Update:
    found = _returned(Conversation.objects.visible_to(user_id).filter(id=conversation_id), columns)
    return Update(found, changes) if changes else found


def _returned(conversations: ConversationQuerySet, columns: tuple[str, ...]) -> Rows:
    rows: Rows = conversations.with_running_reply().values(*columns)
    return rows


def replace_metadata(*, conversation_id: UUID, user_id: UUID, metadata: dict[str, str] | None) -> None:
    """Replace what a client stores with a conversation. Raises `ConversationNotFound`."""
    if not Conversation.objects.visible_to(user_id).filter(id=conversation_id).update(metadata=metadata or None):
        raise ConversationNotFound


def require_conversation(*, conversation_id: UUID, user_id: UUID | None) -> None:
    """Check that a user has this conversation. Raises `ConversationNotFound`. One query."""
    if not _visible(conversation_id=conversation_id, user_id=user_id):
        raise ConversationNotFound


@PreparedStatement
def _visible(conversation_id: UUID, user_id: UUID | None) -> Rows:
    return _returned(Conversation.objects.visible_to(user_id).filter(id=conversation_id), ("id",))


def delete_conversation(*, conversation_id: UUID, user_id: UUID | None) -> None:
    """Stop the running reply of a conversation and delete it with its messages, or put it in the trash (TRASH_DAYS).

    Raises `ConversationNotFound`, `OnHold`. One query without a running reply and without a trash.
    """
    found = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    with refusing_held():
        # ON DELETE CASCADE in the database deletes the messages.
        if not settings.TRASH_DAYS and _delete_idle(conversation_id=conversation_id, user_id=user_id):
            return
        require_conversation(conversation_id=conversation_id, user_id=user_id)
        refuse_held(found)
        stop_running_reply(conversation_id)
        remove_conversations(found)


def remove_conversations(conversations: ConversationQuerySet) -> None:
    """Put conversations in the trash if there is one, else delete them with their messages. Their replies are stopped already.

    What a user can't list can't be restored either: temporary and unlisted conversations are deleted. What is on hold stays.
    """
    conversations = conversations.without_hold()
    if not settings.TRASH_DAYS:
        conversations.delete()
        return
    conversations.filter(Q(expires_at__isnull=False) | Q(is_listed=False), deleted_at__isnull=True).delete()
    conversations.listed().update(deleted_at=Now(), expires_at=Now())


def trash_begins_at() -> datetime:
    """Return since when conversations that were put in the trash can be restored."""
    return timezone.now() - timedelta(days=settings.TRASH_DAYS)


def restore_conversation(columns: tuple[str, ...], *, conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Take a conversation out of the trash and return these columns; of one that is not in it, too.

    Raises `ConversationNotFound`. Two queries.
    """
    owned = Conversation.objects.owned_by(user_id).filter(id=conversation_id)
    owned.in_trash(trash_begins_at()).update(deleted_at=None, expires_at=None)
    return update_conversation(columns, conversation_id=conversation_id, user_id=user_id, changes={})


@PreparedStatement
def _delete_idle(conversation_id: UUID, user_id: UUID | None) -> Delete:
    found = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    rows: Rows = found.without_running_reply().without_hold().values(*("id",))
    return Delete(rows)


def stop_running_replies(*, conversation_ids: Sequence[UUID]) -> None:
    """Stop the running replies of these conversations. Do not call in a transaction: it waits for other workers."""
    drop_queue(conversation_ids)
    running = Message.objects.running().filter(conversation_id__in=conversation_ids)
    for conversation_id in list(running.values_list("conversation_id", flat=True)):
        stop_running_reply(conversation_id)


def delete_conversations(*, conversation_ids: Sequence[UUID]) -> set[UUID]:
    """Stop the running replies of these conversations of any users, and delete the conversations with their messages.

    Return the ids of those that are on hold: they stay. Unknown ids are ignored. Do not call in a transaction: it waits for
    other workers. Raises `OnHold` if one was put on hold at this moment; the batches before are deleted.
    """
    held: set[UUID] = set()
    for start in range(0, len(conversation_ids), DELETION_BATCH):
        batch = conversation_ids[start : start + DELETION_BATCH]
        found = Conversation.objects.filter(id__in=batch)
        held.update(found.on_hold().values_list("id", flat=True))
        stop_running_replies(conversation_ids=[one for one in batch if one not in held])
        # ON DELETE CASCADE in the database deletes the messages.
        with refusing_held():
            found.without_hold().delete()
    return held
