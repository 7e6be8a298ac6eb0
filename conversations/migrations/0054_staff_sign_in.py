"""Who staff are at the identity provider, their sessions, and who may end those of others.

The tables are new, so no node of the state before uses them. The foreign keys need a short lock of Django's own table of staff.
"""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.functions import Now

from conversations.migrating.locks import LockingMigration

PERMISSIONS = {
    "end_staffsession": "Can see and end sessions of other staff",
    "reset_second_factor": "Can reset second factors of other staff",
}
GROUP = "leads"


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="conversations", model="staffsession"
    )
    for codename, name in PERMISSIONS.items():
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type, codename=codename, defaults={"name": name}
        )
        for group in apps.get_model("auth", "Group").objects.filter(name=GROUP):
            group.permissions.add(permission)


def revoke(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="conversations", codename__in=PERMISSIONS
    ).delete()


def _of_staff(kind: Any) -> Any:
    return kind(on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL)


class Migration(LockingMigration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("conversations", "0053_webhooks"),
    ]
    locked_tables = ("auth_user",)
    lock_mode = "SHARE ROW EXCLUSIVE"

    operations = [
        migrations.CreateModel(
            name="StaffIdentity",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("issuer", models.CharField(max_length=500)),
                ("subject", models.CharField(max_length=255)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("user", _of_staff(models.OneToOneField)),
            ],
            options={
                "db_table": "staff_identities",
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("issuer", "subject"), name="staff_identity_once")],
            },
        ),
        migrations.CreateModel(
            name="StaffSession",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("session_key", models.CharField(max_length=40, unique=True)),
                ("device", models.CharField(max_length=300)),
                ("address", models.CharField(max_length=45)),
                ("method", models.CharField(max_length=20)),
                ("password_mark", models.CharField(max_length=16)),
                ("began_at", models.DateTimeField(db_default=Now())),
                ("seen_at", models.DateTimeField()),
                ("user", _of_staff(models.ForeignKey)),
            ],
            options={
                "db_table": "staff_sessions",
                "default_permissions": (),
                "permissions": list(PERMISSIONS.items()),
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
                    ("signed_in", "signed in"),
                    ("signed_out", "signed out"),
                    ("ended", "ended sessions"),
                    ("factor", "second factor"),
                ],
                max_length=10,
            ),
        ),
        migrations.RunPython(grant, revoke),
    ]
