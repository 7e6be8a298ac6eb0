"""Conversations."""

from datetime import timedelta
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q

from conversations.models.assistants import Assistant
from conversations.models.columns import transaction_time
from conversations.new_ids import new_id
from conversations.querysets import ConversationQuerySet

DEFAULT_TITLE = "New conversation"
DEFAULT_MODEL_TAG = "default"
MAX_TITLE_CHARACTERS = 500
# "stream" has a path of its own on the session surface. A slash, and characters that a URL must escape, can't be in a path.
# Front-ends make ids that begin with _ or - (nanoid, assistant-ui).
SESSION_ID_PATTERN = r"^(?!stream$)[A-Za-z0-9_-][A-Za-z0-9._:@-]{0,199}$"
# How long temporary chats and sessions of anonymous callers are kept after their last turn.
TEMPORARY_LIFETIME = timedelta(hours=24)


class TitleSource(models.TextChoices):
    """Who named a conversation; an automatic title never replaces a user's."""

    DEFAULT = "default"
    AUTO = "auto"
    USER = "user"


def index_of_list(name: str, condition: Q) -> models.Index:
    """Return the index of one list of a user's conversations, in the order in which lists show them."""
    return models.Index(F("user_id"), F("updated_at").desc(), F("id").desc(), name=name, condition=condition)


class Conversation(models.Model):
    id = models.UUIDField(primary_key=True, default=new_id, db_default=RandomUUID(), editable=False)
    # Not a foreign key, because users belong to the auth service. Null for anonymous callers.
    user_id = models.UUIDField(null=True, blank=True)
    title = models.CharField(max_length=MAX_TITLE_CHARACTERS, null=True, blank=True)
    model_tag = models.CharField(max_length=100, null=True, blank=True, default=DEFAULT_MODEL_TAG, db_default=DEFAULT_MODEL_TAG)
    created_at = transaction_time()
    updated_at = transaction_time()
    is_favorited = models.BooleanField(default=False, db_default=False)

    session_id = models.CharField(max_length=200, null=True, blank=True)
    assistant = models.ForeignKey(Assistant, null=True, blank=True, on_delete=models.SET_NULL, db_index=False)
    title_source = models.CharField(
        max_length=10, choices=TitleSource.choices, default=TitleSource.DEFAULT, db_default=TitleSource.DEFAULT
    )
    # Set for temporary chats, which are not listed, and pruned after this time.
    expires_at = models.DateTimeField(null=True, blank=True)
    # False for the conversations that a client did not ask for: the first response of a chain makes one (surface `openai`).
    is_listed = models.BooleanField(default=True, db_default=True)
    # The last stop that found nothing to stop, and the key of the send that it is for: see `services.replies.stop_marks`.
    stop_marked_at = models.DateTimeField(null=True, blank=True)
    stop_marked_key = models.CharField(max_length=200, null=True, blank=True)
    # The conversation that this one was forked from, whether it still exists or not.
    forked_from = models.UUIDField(null=True, blank=True)
    # What a client stores with the conversation: `{key: text}`, up to 16 pairs.
    metadata = models.JSONField(null=True, blank=True)
    is_archived = models.BooleanField(default=False, db_default=False)
    # As the user writes them, and what they are compared by: see `conversations.tags`. Both are null without tags.
    tags = ArrayField(models.TextField(), null=True, blank=True)
    tag_keys = ArrayField(models.TextField(), null=True, blank=True)
    # Set for conversations in the trash (TRASH_DAYS). Their `expires_at` has passed, so they are gone for all that reads.
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        db_table = "conversations"
        indexes: ClassVar = [
            models.Index(F("user_id"), F("updated_at").desc(), name="idx_conversations_user"),
            # A user may have any number of unlisted conversations. The list must not read past them.
            index_of_list("idx_conversations_listed", Q(is_listed=True, expires_at__isnull=True)),
            # The lists leave out what is archived, which may be most. Search does not, so it reads the index above.
            index_of_list("idx_conversations_unarchived", Q(is_archived=False, is_listed=True, expires_at__isnull=True)),
            index_of_list("idx_conversations_archived", Q(is_archived=True, is_listed=True, expires_at__isnull=True)),
            index_of_list("idx_conversations_tagged", Q(tag_keys__isnull=False, is_listed=True, expires_at__isnull=True)),
            index_of_list("idx_conversations_trash", Q(deleted_at__isnull=False)),
            # For staff and for pruning: the conversations of all users with a tag.
            GinIndex(fields=["tag_keys"], name="idx_conversations_tags", condition=Q(tag_keys__isnull=False)),
            # Of a user's thousands of conversations, a few are favourites.
            index_of_list("idx_conversations_own_favorite", Q(is_favorited=True, is_listed=True, expires_at__isnull=True)),
            # For staff, who see the conversations of all users by their last turn, and for pruning.
            models.Index(F("updated_at").desc(), F("id").desc(), name="idx_conversations_activity"),
            models.Index(fields=["assistant"], name="idx_conversations_assistant", condition=Q(assistant__isnull=False)),
            # For the filters of the admin's list, each in the order of the list.
            models.Index(F("model_tag"), F("updated_at").desc(), F("id").desc(), name="idx_conversations_model"),
            models.Index(
                F("updated_at").desc(), F("id").desc(), name="idx_conversations_all_favorite", condition=Q(is_favorited=True)
            ),
            models.Index(
                F("updated_at").desc(), F("id").desc(), name="idx_conversations_put_away", condition=Q(is_archived=True)
            ),
            models.Index(fields=["expires_at"], name="idx_conversations_expiry", condition=Q(expires_at__isnull=False)),
            # For staff, who know a session's id and not its user.
            models.Index(fields=["session_id"], name="idx_conversations_session", condition=Q(session_id__isnull=False)),
        ]
        permissions: ClassVar = [
            ("export_conversation", "Can export conversations"),
            ("handle_feedback", "Can mark feedback as handled"),
        ]
        constraints: ClassVar = [
            # A session belongs to its user; an anonymous one has only its id. Two indexes, because PostgreSQL 14 can't
            # treat nulls as equal in one.
            models.UniqueConstraint(
                name="uq_conversations_session",
                fields=["user_id", "session_id"],
                condition=Q(session_id__isnull=False, user_id__isnull=False),
            ),
            models.UniqueConstraint(
                name="uq_conversations_anonymous_session",
                fields=["session_id"],
                condition=Q(session_id__isnull=False, user_id__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.title or DEFAULT_TITLE
