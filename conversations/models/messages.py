"""Messages: questions, replies, and the outputs of tools."""

from typing import ClassVar

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q

from conversations.expressions import MESSAGE_DAY
from conversations.json_fields import JSONTextField
from conversations.models.columns import transaction_time
from conversations.models.conversations import Conversation
from conversations.new_ids import new_id
from conversations.placeholders import MessageTextField
from conversations.querysets import MessageQuerySet


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


class Message(models.Model):
    """One message. Of a reply, also how its generation went."""

    id = models.UUIDField(primary_key=True, default=new_id, db_default=RandomUUID(), editable=False)
    # Migration 0001 makes the foreign key in the database, with ON DELETE CASCADE, so Django does not collect messages to
    # delete. Its index is idx_messages_in_order.
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
            # With `is_active`, so that readers of the active branch don't visit the versions that were left.
            models.Index(fields=["conversation", "created_at", "is_active"], name="idx_messages_in_order"),
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
