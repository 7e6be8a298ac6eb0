"""Tables for staff: the access log, and the daily figures of past days."""

from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F
from django.db.models.functions import Now

# The conversation of a record about a list or a user's page. Not null: programs of the version before make a link of it.
NO_CONVERSATION = UUID(int=0)
MOST_SEARCH_CHARACTERS = 200
MOST_REASON_CHARACTERS = 200
MOST_DEVICE_CHARACTERS = 300


class AccessKind(models.TextChoices):
    READ = "read"
    EXPORTED = "exported"
    DELETED = "deleted"
    LISTED = "listed"
    # What staff do with users and with accounts of staff. `search` says more.
    ERASED = "erased"
    QUOTA = "quota", "changed a quota"
    SIGNED_IN = "signed_in", "signed in"
    SIGNED_OUT = "signed_out", "signed out"
    SESSION_ENDED = "ended", "ended sessions"
    SECOND_FACTOR = "factor", "second factor"
    HELD = "held"
    RELEASED = "released"


class StaffAccess(models.Model):
    """A staff user read, exported or deleted a conversation, saw a list, or did something else that is recorded.

    The row outlives the staff user, the user and the conversation.
    """

    staff = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    staff_name = models.CharField(max_length=150)
    kind = models.CharField(max_length=10, choices=AccessKind.choices)
    conversation_id = models.UUIDField()
    user_id = models.UUIDField(null=True)
    # What staff searched for in a list.
    search = models.CharField(max_length=MOST_SEARCH_CHARACTERS, blank=True, default="", db_default="")
    # The reason is in the staff user's own words. Both are "" in records of the version before.
    address = models.CharField("address (IP)", max_length=45, blank=True, default="", db_default="")
    reason = models.CharField("what for", max_length=MOST_REASON_CHARACTERS, blank=True, default="", db_default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "staff_access"
        verbose_name = "access by staff"
        verbose_name_plural = "access by staff"
        indexes: ClassVar = [
            models.Index(F("at").desc(), F("id").desc(), name="idx_staff_access_at"),
            models.Index(fields=["conversation_id"], name="idx_staff_access_conversation"),
            models.Index(fields=["user_id"], name="idx_staff_access_user"),
        ]

    def __str__(self) -> str:
        # Also the label of the row's checkbox.
        return f"{self.staff_name} {self.kind} {'a list' if self.conversation_id == NO_CONVERSATION else self.conversation_id}"


class StaffIdentity(models.Model):
    """Who an account is at the identity provider."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "staff_identities"
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["issuer", "subject"], name="staff_identity_once")]

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"


class StaffSession(models.Model):
    """What staff see of a session. Django's own row of it is sealed."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    session_key = models.CharField(max_length=40, unique=True)
    device = models.CharField(max_length=MOST_DEVICE_CHARACTERS)
    address = models.CharField(max_length=45)
    method = models.CharField(max_length=20)
    # Tells sessions that a change of the password has ended.
    password_mark = models.CharField(max_length=16)
    began_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "staff_sessions"
        default_permissions = ()
        permissions: ClassVar = [
            ("end_staffsession", "Can see and end sessions of other staff"),
            ("reset_second_factor", "Can reset second factors of other staff"),
        ]

    def __str__(self) -> str:
        return f"a session at {self.address}"


class DailyFigures(models.Model):
    """The figures of one past day (UTC). They are counted once, so that the dashboard need not count them again."""

    day = models.DateField(primary_key=True)
    sent = models.BigIntegerField(help_text="messages that users sent")
    replies = models.BigIntegerField()
    tokens = models.BigIntegerField(help_text="tokens of replies")
    active_users = models.BigIntegerField()
    failures = models.BigIntegerField(help_text="replies that failed or were interrupted")
    first_token_p50_ms = models.IntegerField(null=True)
    first_token_p95_ms = models.IntegerField(null=True)
    inference_p50_ms = models.IntegerField(null=True)
    inference_p95_ms = models.IntegerField(null=True)
    # As `by_model` of the users' totals. Null: counted by a version that did not count by model.
    by_model = models.JSONField(null=True)

    class Meta:
        db_table = "daily_figures"

    def __str__(self) -> str:
        return str(self.day)
