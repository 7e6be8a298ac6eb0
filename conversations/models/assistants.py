"""Assistants, which staff define."""

from typing import ClassVar

from django.contrib.postgres.functions import RandomUUID
from django.core.validators import MaxLengthValidator
from django.db import models
from django.db.models import Q

from conversations.models.columns import transaction_time
from conversations.new_ids import new_id

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
