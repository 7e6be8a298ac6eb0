"""Refuse writes of users who are moved to another cell: a new, empty table, and triggers that look there.

The functions of migrations 0050 and 0053 read the mark of the current era in any case. It also says whether anybody is being
moved, so that this costs nothing otherwise. The error belongs to a class that every surface of this and earlier versions
answers with 503, `Retry-After` and "use the same Idempotency-Key". So nodes of the version before refuse as well.

The setting `chat_api.moves` of a transaction lets commands through: `allowed` for those that delete history, `moved` for the
one that erases what another cell has by now. The latter's deletions are no events for webhooks.
"""

import importlib
from typing import Any

from django.db import migrations, models

from conversations.migrating.locks import LockingMigration

SHORT: Any = importlib.import_module("conversations.migrations.0058_short_conditions")

REFUSE = """
CREATE FUNCTION refuse_moved_user(mover uuid, when_closed boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('chat_api.moves', true), '') = '' AND EXISTS (
        SELECT FROM moved_users WHERE user_id = mover AND (NOT when_closed OR closed_at IS NOT NULL)
    ) THEN
        RAISE EXCEPTION 'the user is being moved to another cell' USING ERRCODE = '53M01';
    END IF;
END $$
"""
BEGIN_ERA = """
CREATE OR REPLACE FUNCTION begin_change_era() RETURNS void LANGUAGE sql AS $$
    WITH era AS (
        INSERT INTO change_eras (began_in) VALUES (pg_snapshot_xmin(pg_current_snapshot())) RETURNING id
    )
    INSERT INTO change_era_marks (era_id, webhooks_until{columns})
    SELECT id, (SELECT max(renewed_at) + interval '1 day' FROM webhook_switch){values} FROM era
$$
"""
# `is_marked` is null if there is no mark yet.
FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_marked boolean;
    wants_webhooks boolean;
    has_moves boolean;
BEGIN
    {change}
    SELECT true, coalesce(webhooks_until > now(), false), coalesce(moves_users, false)
    INTO is_marked, wants_webhooks, has_moves FROM change_era_marks LIMIT 1;
    IF is_marked IS NULL THEN
        PERFORM begin_change_era();
        SELECT coalesce(webhooks_until > now(), false), coalesce(moves_users, false)
        INTO wants_webhooks, has_moves FROM change_era_marks LIMIT 1;
    END IF;
    {then}
    RETURN NULL;
END $$
"""
# As migration 0058 has made it. What looks the same, such as metadata, is no change that is told, and yet refused.
NOTE_CHANGE = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    has_moves boolean;
BEGIN
    {check}
    INSERT INTO conversation_changes (user_id, conversation_id) VALUES (NEW.user_id, NEW.id)
    RETURNING (SELECT coalesce(moves_users, false) FROM change_era_marks LIMIT 1) INTO has_moves;
    IF has_moves IS NULL THEN
        PERFORM begin_change_era();
        has_moves := (SELECT coalesce(moves_users, false) FROM change_era_marks LIMIT 1);
    END IF;
    IF has_moves THEN
        {refuse}
    END IF;
    RETURN NULL;
END $$
"""
REFUSE_CREATED = "PERFORM refuse_moved_user(NEW.user_id, false);"
REFUSE_CHANGED = "PERFORM refuse_moved_user(OLD.user_id, false), refuse_moved_user(NEW.user_id, false);"
CHANGED = SHORT.CHANGED.replace(
    "THEN\n            RETURN NULL;\n        END IF;\n    END IF;",
    f"""THEN
            IF (SELECT moves_users FROM change_era_marks LIMIT 1) THEN
                {REFUSE_CHANGED}
            END IF;
            RETURN NULL;
        END IF;
    END IF;""",  # noqa: S608  # a constant
)
assert "moves_users" in CHANGED
NOTES = [
    NOTE_CHANGE.format(name="note_created_conversation", check=SHORT.CREATED, refuse=REFUSE_CREATED),
    NOTE_CHANGE.format(name="note_changed_conversation", check=CHANGED, refuse=REFUSE_CHANGED),
]
CHANGES = {
    "note_deleted_conversations": """
    INSERT INTO conversation_changes (user_id, conversation_id) SELECT user_id, id FROM deleted WHERE user_id IS NOT NULL;
    """,
    "note_changed_message": """
    IF OLD.status = NEW.status AND OLD.is_active >= NEW.is_active AND OLD.feedback IS NOT DISTINCT FROM NEW.feedback THEN
        RETURN NULL;
    END IF;
    INSERT INTO conversation_changes (user_id, conversation_id)
    SELECT user_id, id FROM conversations WHERE id = NEW.conversation_id AND user_id IS NOT NULL;
    """,
    "note_queued_message": """
    INSERT INTO conversation_changes (user_id, conversation_id)
    SELECT user_id, id FROM conversations WHERE id = coalesce(NEW.conversation_id, OLD.conversation_id) AND user_id IS NOT NULL;
    """,
}
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
    IF wants_webhooks{unless} THEN
        INSERT INTO webhook_events (kind, data)
        SELECT 'conversation.deleted', jsonb_build_object('conversation_id', id, 'user_id', user_id) FROM deleted;
    END IF;
"""
UNLESS_MOVED = " AND current_setting('chat_api.moves', true) IS DISTINCT FROM 'moved'"
# A reply that runs may still end, with all that this changes.
THEN = {
    "note_deleted_conversations": """
    IF has_moves THEN
        PERFORM refuse_moved_user(user_id, false) FROM deleted;
    END IF;
    """
    + CONVERSATION_DELETED.format(unless=UNLESS_MOVED),
    "note_changed_message": """
    IF has_moves THEN
        PERFORM refuse_moved_user(user_id, true) FROM conversations WHERE id = NEW.conversation_id;
    END IF;
    """
    + REPLY_ENDED,
    "note_queued_message": """
    IF has_moves THEN
        PERFORM refuse_moved_user(user_id, TG_OP <> 'INSERT') FROM conversations
        WHERE id = coalesce(NEW.conversation_id, OLD.conversation_id);
    END IF;
    """,
}
# As migrations 0050 and 0053 have made the others.
FORMER_THEN = {
    **dict.fromkeys(THEN, ""),
    "note_deleted_conversations": CONVERSATION_DELETED.format(unless=""),
    "note_changed_message": REPLY_ENDED,
}
FORMER_FUNCTION = FUNCTION.replace(", coalesce(moves_users, false)", ", false")
# These tables change rarely, and only by their user or by staff.
REFUSE_OWN = """
CREATE FUNCTION refuse_own_of_moved_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(moves_users, false) FROM change_era_marks LIMIT 1) IS DISTINCT FROM false THEN
        PERFORM refuse_moved_user(coalesce(NEW.user_id, OLD.user_id), false);
    END IF;
    RETURN NULL;
END $$
"""
OWN_TABLES = ("user_instructions", "user_quotas")
CREATE = [
    "ALTER TABLE change_era_marks ADD COLUMN moves_users boolean",
    REFUSE,
    BEGIN_ERA.format(columns=", moves_users", values=", EXISTS (SELECT FROM moved_users)"),
    *(FUNCTION.format(name=name, change=change, then=THEN[name]) for name, change in CHANGES.items()),
    *NOTES,
    REFUSE_OWN,
    *(
        f"CREATE TRIGGER refuse_moved AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION refuse_own_of_moved_user()"
        for table in OWN_TABLES
    ),
    "GRANT SELECT ON moved_users TO PUBLIC",
]
DROP = [
    *(f"DROP TRIGGER refuse_moved ON {table}" for table in OWN_TABLES),
    "DROP FUNCTION refuse_own_of_moved_user()",
    BEGIN_ERA.format(columns="", values=""),
    *(FORMER_FUNCTION.format(name=name, change=change, then=FORMER_THEN[name]) for name, change in CHANGES.items()),
    *SHORT.NOTES,
    "DROP FUNCTION refuse_moved_user(uuid, boolean)",
    "ALTER TABLE change_era_marks DROP COLUMN moves_users",
]


class Migration(LockingMigration):
    dependencies = [("conversations", "0062_retention_rules")]
    # Also those with the triggers: a write that began with one form of a function must not meet the other form of the marks.
    locked_tables = ("messages", "conversations", "user_instructions", "user_quotas", "change_era_marks")

    operations = [
        migrations.CreateModel(
            name="MovedUser",
            fields=[
                ("user_id", models.UUIDField(primary_key=True, serialize=False)),
                ("begun_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("archived_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={"db_table": "moved_users"},
        ),
        migrations.RunSQL(sql=[*CREATE], reverse_sql=[*DROP]),
    ]
