"""How many requests of each user were refused, per day, and the permission to erase a user, for leads.

The table is new and empty. The nodes of the state before do not use it.
"""

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from conversations.migrating.locks import LockingMigration

CODENAME, NAME = "erase_chatuser", "Can erase users"
GROUP = "leads"


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="conversations", model="chatuser"
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=CODENAME, defaults={"name": NAME}
    )
    for group in apps.get_model("auth", "Group").objects.filter(name=GROUP):
        group.permissions.add(permission)


def revoke(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="conversations", content_type__model="chatuser", codename=CODENAME
    ).delete()


class Migration(LockingMigration):
    dependencies = [("conversations", "0055_usage_by_model")]
    # Nothing here changes a table that is in use.
    locked_tables = ("chat_users",)
    lock_mode = "ACCESS SHARE"

    operations = [
        migrations.CreateModel(
            name="RefusedRequests",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey("user_id", "day", blank=True, editable=False, primary_key=True, serialize=False),
                ),
                ("user_id", models.UUIDField()),
                ("day", models.DateField()),
                ("limited", models.BigIntegerField(db_default=0, default=0, help_text="answered with 429: over a limit")),
                (
                    "other",
                    models.BigIntegerField(db_default=0, default=0, help_text="answered with another status from 400 to 499"),
                ),
            ],
            options={
                "db_table": "refused_requests",
                "default_permissions": (),
                "indexes": [models.Index(fields=["day"], name="idx_refused_requests_day")],
            },
        ),
        migrations.AlterField(
            model_name="staffaccess",
            name="kind",
            field=models.CharField(
                choices=[
                    ("read", "Read"),
                    ("exported", "Exported"),
                    ("deleted", "Deleted"),
                    ("listed", "Listed"),
                    ("erased", "Erased"),
                    ("quota", "changed a quota"),
                    ("signed_in", "signed in"),
                    ("signed_out", "signed out"),
                    ("ended", "ended sessions"),
                    ("factor", "second factor"),
                ],
                max_length=10,
            ),
        ),
        migrations.AlterModelOptions(name="chatuser", options={"permissions": [(CODENAME, NAME)]}),
        migrations.RunPython(grant, revoke),
    ]
