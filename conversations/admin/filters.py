"""The filters of the list of conversations.

Filters on messages use the conversations of the newest 1,000 matching messages, from partial indexes. So their cost does not
grow with the tables.
"""

import re
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.db import connection
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from conversations.admin.visible import visible
from conversations.models import DEFAULT_MODEL_TAG, Assistant, Message, Status
from conversations.querysets import MessageQuerySet
from conversations.services.sending.model_tags import known_models
from conversations.tags import MAX_TAG_CHARACTERS, clean_tag, tag_key

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
MOST_MESSAGES = 1_000
MOST_MODELS = 50
TROUBLES = {"failed": [Status.FAILED], "interrupted": [Status.INTERRUPTED], "both": [Status.FAILED, Status.INTERRUPTED]}

# Each step jumps to the next tag in idx_conversations_model, so the query reads one row per tag.
MODELS_SQL = """
WITH RECURSIVE tags AS (
    (SELECT model_tag FROM conversations WHERE model_tag IS NOT NULL ORDER BY model_tag LIMIT 1)
    UNION ALL
    SELECT (SELECT model_tag FROM conversations WHERE model_tag > tags.model_tag ORDER BY model_tag LIMIT 1)
    FROM tags WHERE tags.model_tag IS NOT NULL
)
SELECT model_tag FROM tags WHERE model_tag IS NOT NULL LIMIT %s
"""


def conversations_of_newest(messages: MessageQuerySet) -> set[UUID]:
    """Return the conversations of the newest 1,000 of these messages."""
    return set(messages.newest_first().values_list("conversation_id", flat=True)[:MOST_MESSAGES])


def last_reply() -> MessageQuerySet:
    """Return the newest active reply of a conversation, as a subquery."""
    return Message.objects.filter(conversation_id=OuterRef("pk")).replies().active_branch().newest_first()


class PeriodFilter(admin.DateFieldListFilter):
    """Django's periods, and one that staff type: from one day (UTC) until before another."""

    template = "admin/conversations/period.html"

    def __init__(self, field: Any, request: HttpRequest, *arguments: Any, **options: Any) -> None:
        super().__init__(field, request, *arguments, **options)
        self.chosen: dict[str, str] = {}
        for name in (self.lookup_kwarg_since, self.lookup_kwarg_until):
            # The form sends an empty field for an end that was left open.
            values: Any = self.used_parameters.pop(name, [])
            given = [value for value in values if value]
            if given:
                self.chosen[name] = given[-1][: len("2026-01-31")]
                self.used_parameters[name] = [f"{day} 00:00+00:00" if DAY.fullmatch(day) else day for day in given]
        self.date_params = {name: value for name, value in self.date_params.items() if value}
        own = {*self.expected_parameters(), PAGE_VAR, ERROR_FLAG}
        self.other_conditions = [
            (name, value) for name in request.GET if name not in own for value in request.GET.getlist(name)
        ]

    @property
    def since(self) -> str:
        return self.chosen.get(self.lookup_kwarg_since, "")

    @property
    def until(self) -> str:
        return self.chosen.get(self.lookup_kwarg_until, "")


class ActivityFilter(PeriodFilter):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.title = "last activity"


class FavouriteFilter(admin.BooleanFieldListFilter):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.title = "favourite"


class ArchivedFilter(admin.BooleanFieldListFilter):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.title = "archived"


class TrashFilter(admin.SimpleListFilter):
    """What users have deleted and can still restore (TRASH_DAYS), and what they have not deleted."""

    title = "trash"
    parameter_name = "trash"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "in the trash"), ("0", "not in the trash")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("0", "1"):
            return queryset
        return queryset.filter(deleted_at__isnull=self.value() == "0")


class TagFilter(admin.SimpleListFilter):
    """A tag that staff type, in any case. Users have too many to choose from."""

    title = "tag"
    parameter_name = "tag"
    template = "admin/conversations/tag.html"

    def __init__(self, request: HttpRequest, *arguments: Any, **options: Any) -> None:
        super().__init__(request, *arguments, **options)
        own = {self.parameter_name, PAGE_VAR, ERROR_FLAG}
        self.other_conditions = [
            (name, value) for name in request.GET if name not in own for value in request.GET.getlist(name)
        ]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def has_output(self) -> bool:
        return True

    @property
    def tag(self) -> str:
        return clean_tag((self.value() or "").replace("\0", ""))[:MAX_TAG_CHARACTERS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(tag_keys__contains=[tag_key(self.tag)]) if self.tag else queryset


class LastReplyFilter(admin.SimpleListFilter):
    title = "status of the last reply"
    parameter_name = "last_reply"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Status.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        status = self.value()
        if status not in Status.values:
            return queryset
        if status != Status.COMPLETE:
            queryset = queryset.filter(id__in=conversations_of_newest(Message.objects.filter(status=status)))
        last_status = Subquery(last_reply().values("status")[:1])
        with_status: QuerySet[Any] = queryset.alias(last_status=last_status).filter(last_status=status)
        return with_status


class TroubleFilter(admin.SimpleListFilter):
    title = "failed or interrupted replies"
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("both", "Any failed or interrupted"), ("failed", "Any failed"), ("interrupted", "Any interrupted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        statuses = TROUBLES.get(self.value() or "")
        if statuses is None:
            return queryset
        # One query per status: each reads a single range of the index in its order.
        found = [conversations_of_newest(Message.objects.filter(status=status)) for status in statuses]
        return queryset.filter(id__in=set().union(*found))


class FeedbackFilter(admin.SimpleListFilter):
    title = "feedback"
    parameter_name = "feedback"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("down", "Thumbs down"), ("up", "Thumbs up")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        rating = {"up": 1, "down": -1}.get(self.value() or "")
        if rating is None:
            return queryset
        return queryset.filter(id__in=conversations_of_newest(Message.objects.filter(feedback=rating)))


def _models_of_assistants() -> list[str]:
    return list(Assistant.objects.exclude(model_tag="").values_list("model_tag", flat=True).distinct()[:MOST_MODELS])


class ModelFilter(admin.SimpleListFilter):
    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        with connection.cursor() as cursor:
            cursor.execute(MODELS_SQL, [MOST_MODELS])
            in_use = [tag for (tag,) in cursor.fetchall()]
        # Clients may name models that never existed. Such names must not push real ones out of the filter.
        known = known_models() and {*known_models(), DEFAULT_MODEL_TAG, *_models_of_assistants(), *filter(None, [self.value()])}
        return [(tag, visible(tag) or "(none)") for tag in (sorted(known) or in_use)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(model_tag=self.value())
