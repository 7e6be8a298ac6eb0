"""Note events for webhooks: two new tables, and two functions of migration 0050 that fill one of them.

The functions read the mark of the current era in any case. Now it also says until when events are noted, so that they cost
nothing where nobody wants them. The triggers that call them exist already. Events are noted whatever ends a reply or deletes a
conversation: every surface, the admin, commands, nodes of the version before, and a person in psql.

A crash empties the table of the mark. Whoever makes the next one takes the time from `webhook_switch`.

Any role that writes conversations must be able to note events.
"""

from typing import Any

import django.contrib.postgres.functions
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import conversations.new_ids
from conversations.migrating.locks import LockingMigration

# A day after the last process with WEBHOOK_URL has ended, nothing is noted any more.
BEGIN_ERA = """
CREATE OR REPLACE FUNCTION begin_change_era() RETURNS void LANGUAGE sql AS $$
    WITH era AS (
        INSERT INTO change_eras (began_in) VALUES (pg_snapshot_xmin(pg_current_snapshot())) RETURNING id
    )
    INSERT INTO change_era_marks (era_id, webhooks_until)
    SELECT id, (SELECT max(renewed_at) + interval '1 day' FROM webhook_switch) FROM era
$$
"""
FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wants_webhooks boolean;
BEGIN
    {change}
    wants_webhooks := (SELECT coalesce(webhooks_until > now(), false) FROM change_era_marks LIMIT 1);
    IF wants_webhooks IS NULL THEN
        PERFORM begin_change_era();
        wants_webhooks := (SELECT coalesce(webhooks_until > now(), false) FROM change_era_marks LIMIT 1);
    END IF;
    {event}
    RETURN NULL;
END $$
"""
NOTE_CHANGED = """
    IF OLD.status = NEW.status AND OLD.is_active >= NEW.is_active AND OLD.feedback IS NOT DISTINCT FROM NEW.feedback THEN
        RETURN NULL;
    END IF;
    INSERT INTO conversation_changes (user_id, conversation_id)
    SELECT user_id, id FROM conversations WHERE id = NEW.conversation_id AND user_id IS NOT NULL;
"""
NOTE_DELETED = """
    INSERT INTO conversation_changes (user_id, conversation_id) SELECT user_id, id FROM deleted WHERE user_id IS NOT NULL;
"""
# A reply that was guessed to be interrupted may end after all. That is another event.
REPLY_ENDED = """
    IF wants_webhooks AND OLD.status <> NEW.status AND NEW.status <> 'streaming'
       AND OLD.status IN ('streaming', 'interrupted') THEN
        INSERT INTO webhook_events (kind, data)
        SELECT 'reply.ended', jsonb_build_object(
            'conversation_id', id, 'message_id', NEW.id, 'user_id', user_id, 'status', NEW.status,
            'error_code', NEW.error_code, 'model_tag', NEW.model_tag
        ) FROM conversations WHERE id = NEW.conversation_id;
    END IF;
"""
CONVERSATION_DELETED = """
    IF wants_webhooks THEN
        INSERT INTO webhook_events (kind, data)
        SELECT 'conversation.deleted', jsonb_build_object('conversation_id', id, 'user_id', user_id) FROM deleted;
    END IF;
"""
CREATE = [
    "ALTER TABLE change_era_marks ADD COLUMN webhooks_until timestamptz",
    BEGIN_ERA,
    FUNCTION.format(name="note_changed_message", change=NOTE_CHANGED, event=REPLY_ENDED),
    FUNCTION.format(name="note_deleted_conversations", change=NOTE_DELETED, event=CONVERSATION_DELETED),
    "GRANT INSERT ON webhook_events TO PUBLIC",
    "GRANT SELECT ON webhook_switch TO PUBLIC",
]
# As migration 0050 has made them.
FORMER_BEGIN_ERA = """
CREATE OR REPLACE FUNCTION begin_change_era() RETURNS void LANGUAGE sql AS $$
    WITH era AS (
        INSERT INTO change_eras (began_in) VALUES (pg_snapshot_xmin(pg_current_snapshot())) RETURNING id
    )
    INSERT INTO change_era_marks SELECT id FROM era
$$
"""
FORMER_FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {change}
    IF NOT EXISTS (SELECT FROM change_era_marks) THEN
        PERFORM begin_change_era();
    END IF;
    RETURN NULL;
END $$
"""
DROP = [
    FORMER_BEGIN_ERA,
    FORMER_FUNCTION.format(name="note_changed_message", change=NOTE_CHANGED),
    FORMER_FUNCTION.format(
        name="note_deleted_conversations", change=NOTE_DELETED + "    IF NOT FOUND THEN\n        RETURN NULL;\n    END IF;\n"
    ),
    "ALTER TABLE change_era_marks DROP COLUMN webhooks_until",
]
PERMISSIONS = {
    "view_webhookevent": "Can view webhook event",
    "retry_webhookevent": "Can try to deliver webhook events again",
}
GROUP = "operators"


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="conversations", model="webhookevent"
    )
    for codename, name in PERMISSIONS.items():
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type, codename=codename, defaults={"name": name}
        )
        for group in apps.get_model("auth", "Group").objects.filter(name=GROUP):
            group.permissions.add(permission)


class Migration(LockingMigration):
    dependencies = [("conversations", "0052_names_of_favorites")]
    locked_tables = ("change_era_marks",)

    operations = [
        migrations.CreateModel(
            name="WebhookSwitch",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("renewed_at", models.DateTimeField()),
            ],
            options={"db_table": "webhook_switch"},
        ),
        migrations.CreateModel(
            name="WebhookEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        default=conversations.new_ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("kind", models.CharField(max_length=40)),
                ("data", models.JSONField()),
                ("created_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                (
                    "due_at",
                    models.DateTimeField(
                        blank=True,
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        null=True,
                        verbose_name="next attempt",
                    ),
                ),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("last_failure", models.CharField(blank=True, max_length=100, null=True)),
            ],
            options={
                "db_table": "webhook_events",
                "permissions": [("retry_webhookevent", "Can try to deliver webhook events again")],
            },
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="idx_webhook_events_due"),
        ),
        migrations.AddIndex(
            model_name="webhookevent", index=models.Index(fields=["created_at"], name="idx_webhook_events_created")
        ),
        migrations.RunSQL(sql=[*CREATE], reverse_sql=[*DROP]),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
