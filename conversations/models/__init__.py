"""The tables, one file per subject: each row's rules, and the constraints and indexes. Not which rows (`querysets`).

The tables `conversations` and `messages` are the deployed predecessor's, taken over in place: their names, columns, indexes
and constraints stay as they were, and every added column is nullable or has a database default, so that the predecessor's
own SQL still works on them.
"""

from conversations.models.assistants import SAMPLING_RANGES, Assistant
from conversations.models.conversations import (
    DEFAULT_MODEL_TAG,
    DEFAULT_TITLE,
    MAX_TITLE_CHARACTERS,
    SESSION_ID_PATTERN,
    TEMPORARY_LIFETIME,
    Conversation,
    TitleSource,
)
from conversations.models.holds import LegalHold
from conversations.models.keys import CreationKey, EarlyStop
from conversations.models.messages import Message, Role, Status
from conversations.models.queue import QueuedMessage
from conversations.models.retention import PruneRun, RetentionRule
from conversations.models.staff import AccessKind, DailyFigures, StaffAccess
from conversations.models.usage import RefusedRequests, UsageTotal, UserQuota
from conversations.models.users import ChatUser, ErasedUser, ExportHold, MovedUser, UserInstructions
from conversations.models.webhooks import WebhookEvent, WebhookSwitch
from conversations.models.workers import Worker

__all__ = [
    "DEFAULT_MODEL_TAG",
    "DEFAULT_TITLE",
    "MAX_TITLE_CHARACTERS",
    "SAMPLING_RANGES",
    "SESSION_ID_PATTERN",
    "TEMPORARY_LIFETIME",
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
