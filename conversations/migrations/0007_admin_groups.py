"""Make two groups of staff: `support` may read, `operators` may also delete and export.

Django makes permissions only after all migrations have run, so a new database has none yet. This migration makes them with the
same keys, and Django keeps them.
"""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

READ = {
    ("conversation", "view_conversation"): "Can view conversation",
    ("chatuser", "view_chatuser"): "Can view chat user",
    ("assistant", "view_assistant"): "Can view assistant",
}
OPERATE = {
    ("conversation", "delete_conversation"): "Can delete conversation",
    ("conversation", "export_conversation"): "Can export conversations",
}
GROUPS = {"support": READ, "operators": READ | OPERATE}


def make_groups(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    ContentType = apps.get_model("contenttypes", "ContentType")
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    for group_name, permissions in GROUPS.items():
        # A group of that name that an administrator made keeps its members and what they gave it.
        group, _ = Group.objects.get_or_create(name=group_name)
        for (model, codename), name in permissions.items():
            content_type, _ = ContentType.objects.get_or_create(app_label="conversations", model=model)
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type, codename=codename, defaults={"name": name}
            )
            group.permissions.add(permission)


def remove_groups(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Group").objects.filter(name__in=GROUPS).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0006_admin_indexes"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_groups, remove_groups)]
