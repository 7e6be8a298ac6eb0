"""Legal holds: a new, empty table, and triggers that refuse to delete what is on hold.

The service asks for holds before it deletes. The triggers are for everything else that deletes: the nodes of the version
before, the predecessor, a person with psql, and a deletion that began just before the hold. They see a whole statement at
once, and first look whether anything is on hold at all, so a statement costs a few microseconds more and a row nothing. A
statement that deletes something on hold fails as a whole.

A conversation's own messages go by the foreign key inside its trigger, so their depth is not 0: the trigger of the
conversations decides about them.

Any role that deletes conversations, the predecessor's for example, must be able to see what is on hold, but not why.
"""

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.functions import Now

from conversations.migrating.locks import LockingMigration

IN_FORCE = "hold.released_at IS NULL AND (hold.ends_at IS NULL OR hold.ends_at > now())"
REFUSE = """
CREATE FUNCTION refuse_held() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a legal hold forbids to delete this'
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'legal_hold', HINT = 'See the table legal_holds.';
END $$
"""
KEEP_CONVERSATIONS = f"""
CREATE FUNCTION keep_held_conversations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM legal_holds AS hold WHERE {IN_FORCE}) AND (
        EXISTS (SELECT FROM legal_holds AS hold JOIN deleted ON deleted.id = hold.conversation_id WHERE {IN_FORCE})
        OR EXISTS (SELECT FROM legal_holds AS hold JOIN deleted ON deleted.user_id = hold.user_id WHERE {IN_FORCE})
    ) THEN
        PERFORM refuse_held();
    END IF;
    RETURN NULL;
END $$
"""  # noqa: S608  # only constants go into it
# Not a join, in which the ids of each deleted message may be gathered anew for each hold.
KEEP_MESSAGES = f"""
CREATE FUNCTION keep_held_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM legal_holds AS hold WHERE {IN_FORCE}) AND EXISTS (
        SELECT FROM conversations
        WHERE id = ANY(ARRAY(SELECT DISTINCT conversation_id FROM deleted)) AND (
            EXISTS (SELECT FROM legal_holds AS hold WHERE hold.conversation_id = conversations.id AND {IN_FORCE})
            OR EXISTS (SELECT FROM legal_holds AS hold WHERE hold.user_id = conversations.user_id AND {IN_FORCE})
        )
    ) THEN
        PERFORM refuse_held();
    END IF;
    RETURN NULL;
END $$
"""  # noqa: S608
TRIGGERS = [
    """
    CREATE TRIGGER keep_held AFTER DELETE ON conversations REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION keep_held_conversations()
    """,
    """
    CREATE TRIGGER keep_held AFTER DELETE ON messages REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION keep_held_messages()
    """,
]
GRANT = "GRANT SELECT (user_id, conversation_id, ends_at, released_at) ON legal_holds TO PUBLIC"
DROP = [
    "DROP TRIGGER keep_held ON messages",
    "DROP TRIGGER keep_held ON conversations",
    "DROP FUNCTION keep_held_messages()",
    "DROP FUNCTION keep_held_conversations()",
    "DROP FUNCTION refuse_held()",
]
PERMISSIONS = {f"{verb}_legalhold": f"Can {verb} legal hold" for verb in ("view", "add", "change")}
GROUPS = ("leads",)


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="conversations", model="legalhold"
    )
    for codename, name in PERMISSIONS.items():
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type, codename=codename, defaults={"name": name}
        )
        for group in apps.get_model("auth", "Group").objects.filter(name__in=GROUPS):
            group.permissions.add(permission)


def revoke(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="conversations", content_type__model="legalhold"
    ).delete()


class Migration(LockingMigration):
    dependencies = [("conversations", "0056_refused_requests")]
    locked_tables = ("messages", "conversations")
    lock_mode = "SHARE ROW EXCLUSIVE"

    operations = [
        migrations.CreateModel(
            name="LegalHold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.UUIDField(blank=True, null=True)),
                ("conversation_id", models.UUIDField(blank=True, null=True)),
                ("reason", models.CharField(max_length=500)),
                ("placed_by", models.CharField(max_length=150)),
                ("placed_at", models.DateTimeField(db_default=Now(), verbose_name="since")),
                ("ends_at", models.DateTimeField(blank=True, null=True, verbose_name="until")),
                ("released_by", models.CharField(blank=True, db_default="", default="", max_length=150)),
                ("released_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "legal_holds",
                "indexes": [
                    models.Index(
                        condition=models.Q(released_at__isnull=True, user_id__isnull=False),
                        fields=["user_id"],
                        name="idx_legal_holds_user",
                    ),
                    models.Index(
                        condition=models.Q(released_at__isnull=True, conversation_id__isnull=False),
                        fields=["conversation_id"],
                        name="idx_legal_holds_conversation",
                    ),
                    models.Index(models.F("placed_at").desc(), models.F("id").desc(), name="idx_legal_holds_placed"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(user_id__isnull=True, conversation_id__isnull=False)
                        | models.Q(user_id__isnull=False, conversation_id__isnull=True),
                        name="ck_legal_holds_subject",
                    )
                ],
            },
        ),
        migrations.RunSQL(
            sql=[REFUSE, KEEP_CONVERSATIONS, KEEP_MESSAGES, *TRIGGERS, GRANT],
            reverse_sql=[*DROP],
        ),
        migrations.RunPython(grant, revoke),
        # The choices are only in forms: this changes nothing in the database.
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
                    ("held", "Held"),
                    ("released", "Released"),
                ],
                max_length=10,
            ),
        ),
    ]
