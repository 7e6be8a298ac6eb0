"""Record from which address staff read, and what for; groups for auditors and for leads.

Columns with a constant default change the catalogue alone. The nodes of the state before leave the default in.
"""

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from conversations.migrating.locks import LockingMigration

AUDIT = {("staffaccess", "view_staffaccess"): "Can view access by staff"}
LEAD = AUDIT | {
    ("conversation", "view_conversation"): "Can view conversation",
    ("conversation", "delete_conversation"): "Can delete conversation",
    ("conversation", "export_conversation"): "Can export conversations",
    ("conversation", "handle_feedback"): "Can mark feedback as handled",
    ("chatuser", "view_chatuser"): "Can view chat user",
    ("assistant", "view_assistant"): "Can view assistant",
    ("assistant", "add_assistant"): "Can add assistant",
    ("assistant", "change_assistant"): "Can change assistant",
    ("userquota", "view_userquota"): "Can view user quota",
    ("userquota", "add_userquota"): "Can add user quota",
    ("userquota", "change_userquota"): "Can change user quota",
    ("userquota", "delete_userquota"): "Can delete user quota",
}
GROUPS = {"auditors": AUDIT, "leads": LEAD}


def make_groups(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    for group_name, permissions in GROUPS.items():
        # A group of that name that an administrator made keeps its members and what they gave it.
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=group_name)
        for (model, codename), name in permissions.items():
            content_type, _ = ContentType.objects.get_or_create(app_label="conversations", model=model)
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type, codename=codename, defaults={"name": name}
            )
            group.permissions.add(permission)


def remove_groups(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Group").objects.filter(name__in=GROUPS).delete()


class Migration(LockingMigration):
    dependencies = [("conversations", "0036_usage_of_this_month")]
    locked_tables = ("staff_access",)

    operations = [
        migrations.AddField(
            model_name="staffaccess",
            name="address",
            field=models.CharField(blank=True, db_default="", default="", max_length=45, verbose_name="address (IP)"),
        ),
        migrations.AddField(
            model_name="staffaccess",
            name="reason",
            field=models.CharField(blank=True, db_default="", default="", max_length=200, verbose_name="what for"),
        ),
        migrations.RunPython(make_groups, remove_groups),
    ]
