"""Build the indexes for the admin's lists, filters, search and dashboard, while the service writes to the tables.

CREATE INDEX CONCURRENTLY can't run in a transaction. If the migration breaks off, run it again: see `migrating.indexes`.
"""

from typing import Any

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.functions.text
from django.db import migrations, models

from conversations.migrating.indexes import BuildIndex, DropIndex


def newest_first(*columns: models.F | str, time: str, **options: Any) -> models.Index:
    """Return an index in the order of a list: first the columns of its filter, then the newest rows first."""
    order = [models.OrderBy(models.F(column), descending=True) for column in (time, "id")]
    return models.Index(*columns, *order, **options)


def beginnings(column: str, name: str) -> models.Index:
    """Return an index that finds the beginning of a column, in upper or lower case and with any collation of the database."""
    expression = django.db.models.functions.text.Upper(column)
    return models.Index(django.contrib.postgres.indexes.OpClass(expression, name="text_pattern_ops"), name=name)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("conversations", "0005_admin_tables")]

    operations = [
        BuildIndex(
            model_name="message",
            index=models.Index(
                models.Func(
                    models.F("created_at"),
                    output_field=models.DateField(),
                    template="((%(expressions)s AT TIME ZONE 'UTC')::date)",
                ),
                name="idx_messages_day",
            ),
        ),
        BuildIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("status__in", ["stopped", "interrupted", "failed"])),
                fields=["status", "created_at"],
                name="idx_messages_troubled",
            ),
        ),
        BuildIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("feedback__isnull", False)),
                fields=["feedback", "created_at"],
                name="idx_messages_feedback",
            ),
        ),
        BuildIndex(
            model_name="conversation",
            index=newest_first(models.F("model_tag"), time="updated_at", name="idx_conversations_model"),
        ),
        BuildIndex(
            model_name="conversation",
            index=newest_first(
                time="updated_at", condition=models.Q(("is_favorited", True)), name="idx_conversations_favorited"
            ),
        ),
        BuildIndex(
            model_name="conversation",
            index=django.contrib.postgres.indexes.GinIndex(
                models.Func(
                    models.F("title"),
                    output_field=django.contrib.postgres.search.SearchVectorField(),
                    template="to_tsvector('simple', %(expressions)s)",
                ),
                name="idx_conversations_title_words",
            ),
        ),
        BuildIndex(model_name="chatuser", index=beginnings("email", "idx_chat_users_email_prefix")),
        BuildIndex(model_name="chatuser", index=beginnings("name", "idx_chat_users_name_prefix")),
        BuildIndex(model_name="chatuser", index=newest_first(time="last_seen_at", name="idx_chat_users_seen")),
        # The one on beginnings finds exact addresses as well.
        DropIndex(model_name="chatuser", name="idx_chat_users_email"),
    ]
