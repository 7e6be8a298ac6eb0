"""What staff did about a rating, and the permission to write it, for the groups of migration 0007.

Nullable columns without a default change the catalogue alone, whatever the size of the table. The nodes of the state before do
not use them.
"""

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from conversations.migrating.locks import LockingMigration

CODENAME, NAME = "handle_feedback", "Can mark feedback as handled"
GROUPS = ("support", "operators")


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="conversations", model="conversation"
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=CODENAME, defaults={"name": NAME}
    )
    for group in apps.get_model("auth", "Group").objects.filter(name__in=GROUPS):
        group.permissions.add(permission)


def revoke(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="conversations", content_type__model="conversation", codename=CODENAME
    ).delete()


class Migration(LockingMigration):
    dependencies = [("conversations", "0031_find_by_trace_and_session")]
    locked_tables = ("messages",)

    operations = [
        migrations.AddField("message", "feedback_handled_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("message", "feedback_handled_by", models.CharField(blank=True, max_length=150, null=True)),
        migrations.AddField("message", "feedback_note", models.TextField(blank=True, null=True)),
        migrations.AlterModelOptions(
            name="conversation",
            options={
                "permissions": [
                    ("export_conversation", "Can export conversations"),
                    ("handle_feedback", "Can mark feedback as handled"),
                ]
            },
        ),
        migrations.RunPython(grant, revoke),
    ]
