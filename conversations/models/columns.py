"""Columns that several tables have."""

from typing import Any

from django.db import models
from django.db.models import Func


def transaction_time(**options: Any) -> "models.DateTimeField[Any, Any]":
    """Return a nullable timestamp whose database default is `now()`, as the predecessor declared them."""
    now = Func(function="now", output_field=models.DateTimeField())
    return models.DateTimeField(null=True, blank=True, db_default=now, **options)
