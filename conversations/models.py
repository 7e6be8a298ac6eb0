"""Conversations, their messages, and the people and assistants around them.

The tables `conversations` and `messages` are the deployed predecessor's, taken over in place: their names, columns, indexes
and constraints stay as they were, and every added column is nullable or has a database default, so that the predecessor's
own SQL still works on them.
"""

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.validators import MaxLengthValidator
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Upper

from conversations.cell_models import MovedUser
from conversations.erased_models import ErasedUser
from conversations.export_models import ExportHold
from conversations.expressions import MESSAGE_DAY
from conversations.hold_models import LegalHold
from conversations.instruction_models import UserInstructions
from conversations.json_fields import JSONTextField
from conversations.key_models import CreationKey, EarlyStop
from conversations.lease_models import Worker
from conversations.new_ids import new_id
from conversations.placeholders import MessageTextField
from conversations.prune_models import PruneRun
from conversations.querysets import ConversationQuerySet, MessageQuerySet
from conversations.queue_models import QueuedMessage
from conversations.retention_models import RetentionRule
from conversations.staff_models import AccessKind, DailyFigures, StaffAccess
from conversations.usage_models import RefusedRequests, UsageTotal, UserQuota
from conversations.webhook_models import WebhookEvent, WebhookSwitch

__all__ = [
    "AccessKind",
    "Assistant",
    "ChatUser",
    "Conversation",
    "CreationKey",
    "DailyFigures",
    "EarlyStop",
    "ErasedUser",
    "ExportHold",
    "LegalHold",
    "Message",
    "MovedUser",
    "PruneRun",
    "QueuedMessage",
    "RefusedRequests",
    "RetentionRule",
    "Role",
    "StaffAccess",
    "Status",
    "TitleSource",
    "UsageTotal",
    "UserInstructions",
    "UserQuota",
    "WebhookEvent",
    "WebhookSwitch",
    "Worker",
]

DEFAULT_TITLE = "New conversation"
DEFAULT_MODEL_TAG = "default"
MAX_TITLE_CHARACTERS = 500
# "stream" is an address of the session surface. A slash, and characters that a URL must escape, can't be in an address.
# Front-ends make ids that begin with _ or - (nanoid, assistant-ui).
SESSION_ID_PATTERN = r"^(?!stream$)[A-Za-z0-9_-][A-Za-z0-9._:@-]{0,199}$"
# How long temporary chats and sessions of anonymous callers are kept after their last turn.
TEMPORARY_LIFETIME = timedelta(hours=24)


def transaction_time(**options: Any) -> "models.DateTimeField[Any, Any]":
    """Return a nullable timestamp whose database default is `now()`, as the predecessor declared them."""
    now = Func(function="now", output_field=models.DateTimeField())
    return models.DateTimeField(null=True, blank=True, db_default=now, **options)


class Role(models.TextChoices):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class Status(models.TextChoices):
    STREAMING = "streaming"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class TitleSource(models.TextChoices):
    """Who named a conversation; an automatic title never replaces a user's."""

    DEFAULT = "default"
    AUTO = "auto"
    USER = "user"


# The same ranges as ck_assistants_sampling.
SAMPLING_RANGES = {"temperature": (0, 2), "max_tokens": (1, 131_072), "top_k": (0, 200)}


class Assistant(models.Model):
    """A persona that staff define: a system prompt, a model and how to sample from it."""

    id = models.UUIDField(primary_key=True, default=new_id, db_default=RandomUUID(), editable=False)
    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True, default="", db_default="", validators=[MaxLengthValidator(2000)])
    system_prompt = models.TextField(blank=True, default="", db_default="", validators=[MaxLengthValidator(8000)])
    model_tag = models.CharField(max_length=100, blank=True, default="", db_default="")
    temperature = models.FloatField(null=True, blank=True)
    max_tokens = models.PositiveIntegerField(null=True, blank=True)
    top_k = models.PositiveIntegerField(null=True, blank=True)
    requires_authentication = models.BooleanField(default=True, db_default=True)
    is_active = models.BooleanField(default=True, db_default=True)
    created_at = transaction_time(editable=False)

    class Meta:
        db_table = "assistants"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="ck_assistants_sampling",
                condition=(Q(temperature__isnull=True) | Q(temperature__range=SAMPLING_RANGES["temperature"]))
                & (Q(max_tokens__isnull=True) | Q(max_tokens__range=SAMPLING_RANGES["max_tokens"]))
                & (Q(top_k__isnull=True) | Q(top_k__range=SAMPLING_RANGES["top_k"])),
            )
        ]

    def __str__(self) -> str:
        return self.name


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
            models.Index(
                F("user_id"),
                F("updated_at").desc(),
                F("id").desc(),
                name="idx_conversations_listed",
                condition=Q(is_listed=True, expires_at__isnull=True),
            ),
            # The lists leave out what is archived, which may be most. Search does not, so it reads the index above.
            models.Index(
                F("user_id"),
                F("updated_at").desc(),
                F("id").desc(),
                name="idx_conversations_unarchived",
                condition=Q(is_archived=False, is_listed=True, expires_at__isnull=True),
            ),
            models.Index(
                F("user_id"),
                F("updated_at").desc(),
                F("id").desc(),
                name="idx_conversations_archived",
                condition=Q(is_archived=True, is_listed=True, expires_at__isnull=True),
            ),
            models.Index(
                F("user_id"),
                F("updated_at").desc(),
                F("id").desc(),
                name="idx_conversations_tagged",
                condition=Q(tag_keys__isnull=False, is_listed=True, expires_at__isnull=True),
            ),
            models.Index(
                F("user_id"),
                F("updated_at").desc(),
                F("id").desc(),
                name="idx_conversations_trash",
                condition=Q(deleted_at__isnull=False),
            ),
            # For staff and for pruning: the conversations of all users with a tag.
            GinIndex(fields=["tag_keys"], name="idx_conversations_tags", condition=Q(tag_keys__isnull=False)),
            # Of a user's thousands of conversations, a few are favourites.
            models.Index(
                F("user_id"),
                F("updated_at").desc(),
                F("id").desc(),
                name="idx_conversations_own_favorite",
                condition=Q(is_favorited=True, is_listed=True, expires_at__isnull=True),
            ),
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


class Message(models.Model):
    """One message. Of a reply, also how its generation went."""

    id = models.UUIDField(primary_key=True, default=new_id, db_default=RandomUUID(), editable=False)
    # Migration 0001 makes the foreign key in the database, with ON DELETE CASCADE, so Django does not collect messages to
    # delete. Its index is idx_messages_conversation.
    conversation = models.ForeignKey(
        Conversation, on_delete=models.DO_NOTHING, related_name="messages", db_constraint=False, db_index=False
    )
    role = models.CharField(max_length=20, choices=Role.choices)
    content = MessageTextField()
    token_count = models.IntegerField(null=True, blank=True)
    model_tag = models.CharField(max_length=100, null=True, blank=True)
    inference_time_ms = models.IntegerField(null=True, blank=True)
    created_at = transaction_time()

    status = models.CharField(max_length=12, choices=Status.choices, default=Status.COMPLETE, db_default=Status.COMPLETE)
    # What the model thought before and between its text. It is sent upstream only with INFERENCE_SEND_REASONING.
    reasoning = models.TextField(blank=True, default="", db_default="")
    # How much of it came before the text, where the model went on to think after its first word. Null: all of it.
    reasoning_before_text = models.IntegerField(null=True, blank=True)
    # For a reply, the user message that it answers. For an edited user message, its first version. There is no constraint,
    # because it would check row by row when messages are deleted with their conversation.
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    # Of a reply, the calls of tools that its client is asked to run: `[{"id", "name", "arguments"}]`. Of a message that is the
    # output of a call: `{"call_id"}`. Its role is stored as `user`, because the predecessor and older nodes refuse other
    # roles. Clients see `tool`.
    tool_calls = JSONTextField(null=True, blank=True)
    # For a question, the message that it follows, usually a reply. Null: the first one, or a row that `services.replies.tree`
    # has not linked yet. No foreign key, for the reason above.
    follows_id = models.UUIDField(null=True, blank=True)
    is_active = models.BooleanField(default=True, db_default=True)
    # Whether this message was ever left for another version, and with which choice of its conversation it last was: of several
    # versions, the one with the highest number comes back. Rows of older versions may have only the first.
    was_active = models.BooleanField(null=True, blank=True)
    left_order = models.IntegerField(null=True, blank=True)
    # Whether there are other versions of this question, or other answers to its question. Null: none that we know of.
    has_versions = models.BooleanField(null=True, blank=True)
    error_code = models.CharField(max_length=50, null=True, blank=True)
    # The worker that makes the reply; see `services.replies.leases`. Null for replies of the version before, which renews
    # `heartbeat_at` instead. For all others that is infinity, so that nodes of that version do not take them for abandoned.
    worker = models.UUIDField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    stop_requested = models.BooleanField(default=False, db_default=False)
    # For a running reply: whether a client followed it at its worker's last checkpoint, and when one last did elsewhere.
    # For a question: false if its send did what the triggers for the predecessor do (migration `questions_of_our_own`).
    is_followed = models.BooleanField(null=True, blank=True)
    followed_at = models.DateTimeField(null=True, blank=True)
    # For a running reply: whether messages wait until it ends.
    is_awaited = models.BooleanField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    request_fingerprint = models.CharField(max_length=64, null=True, blank=True)
    prompt_tokens = models.IntegerField(null=True, blank=True)
    first_token_ms = models.IntegerField(null=True, blank=True)
    finish_reason = models.CharField(max_length=20, null=True, blank=True)
    # For staff: the inference service's own word for the end, and of its error the status and the code, never the text. The
    # trace leads to the log lines of a reply that failed or was interrupted.
    upstream_finish = models.CharField(max_length=100, null=True, blank=True)
    upstream_status = models.SmallIntegerField(null=True, blank=True)
    upstream_code = models.CharField(max_length=64, null=True, blank=True)
    trace_id = models.CharField(max_length=128, null=True, blank=True)
    # How often a reply was continued, and after which cursor the last time. Each continuation has its own generation: drafts
    # and ends of an earlier one are void.
    continuations = models.IntegerField(null=True, blank=True)
    continued_after = models.CharField(max_length=21, null=True, blank=True)
    # What went upstream: {"messages", "characters", "left_out", "reason"}.
    context = models.JSONField(null=True, blank=True)
    # For a reply: what its client asked for besides the question. The surface `openai` shows it again.
    request_options = models.JSONField(null=True, blank=True)
    # "client" for messages of a history that a client brought, "import" for those of another application's export. Null: said
    # here.
    source = models.CharField(max_length=10, null=True, blank=True)
    feedback = models.SmallIntegerField(null=True, blank=True)
    feedback_comment = models.TextField(null=True, blank=True)
    # What staff did about the rating. Another rating takes the time away.
    feedback_handled_at = models.DateTimeField(null=True, blank=True)
    feedback_handled_by = models.CharField(max_length=150, null=True, blank=True)
    feedback_note = models.TextField(null=True, blank=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        db_table = "messages"
        indexes: ClassVar = [
            models.Index(fields=["conversation", "created_at"], name="idx_messages_conversation"),
            models.Index(fields=["parent"], name="idx_messages_parent", condition=Q(parent__isnull=False)),
            # By day, because PostgreSQL might read an index in the order of time backwards to find the newest messages of one
            # conversation, past the messages of all others.
            models.Index(MESSAGE_DAY, name="idx_messages_day"),
            # The rare replies that staff look for. Neither index has a column that a checkpoint writes: checkpoints stay HOT.
            models.Index(
                fields=["status", "created_at"],
                name="idx_messages_troubled",
                condition=Q(status__in=["stopped", "interrupted", "failed"]),
            ),
            models.Index(fields=["feedback", "created_at"], name="idx_messages_feedback", condition=Q(feedback__isnull=False)),
            # Only replies that failed or were interrupted have a trace.
            models.Index(fields=["trace_id"], name="idx_messages_trace", condition=Q(trace_id__isnull=False)),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="ck_messages_role", condition=Q(role__in=Role.values)),
            models.CheckConstraint(name="ck_messages_status", condition=Q(status__in=Status.values)),
            models.CheckConstraint(name="ck_messages_feedback", condition=Q(feedback__isnull=True) | Q(feedback__in=(-1, 1))),
            models.UniqueConstraint(name="uq_messages_running", fields=["conversation"], condition=Q(status=Status.STREAMING)),
            models.UniqueConstraint(
                name="uq_messages_idempotency",
                fields=["conversation", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} message {self.id}"


class ChatUser(models.Model):
    """What the auth service last said of a user; for staff to search by, never something that others depend on."""

    id = models.UUIDField(primary_key=True)
    email = models.CharField(max_length=255, blank=True, default="", db_default="")
    name = models.CharField(max_length=255, blank=True, default="", db_default="")
    is_admin = models.BooleanField(default=False, db_default=False)
    first_seen_at = transaction_time()
    last_seen_at = transaction_time()

    class Meta:
        db_table = "chat_users"
        permissions: ClassVar = [("erase_chatuser", "Can erase users")]
        indexes: ClassVar = [
            # text_pattern_ops: in most collations an ordinary index can't find beginnings. It finds exact ones as well.
            models.Index(OpClass(Upper("email"), name="text_pattern_ops"), name="idx_chat_users_email_prefix"),
            models.Index(OpClass(Upper("name"), name="text_pattern_ops"), name="idx_chat_users_name_prefix"),
            models.Index(F("last_seen_at").desc(), F("id").desc(), name="idx_chat_users_seen"),
        ]

    def __str__(self) -> str:
        return self.email or str(self.id)
