"""Note in the database which conversations change, for `GET /api/changes` (see `services.changes`).

Triggers do it, so whatever writes is noted: every surface, the admin, commands, the nodes of the version before, and the
predecessor. They only insert: no writer waits for another because of them, and none can deadlock.

Rows are found by the transaction that made the change. After a crash or a fail-over, PostgreSQL may give the number of a
transaction whose commit was lost to another one. Therefore changes belong to eras: the first change after such an event begins
a new era. The mark of the current era is in an unlogged table, which PostgreSQL empties when it recovers or when a standby is
promoted.

Any role that writes conversations, the predecessor's for example, must be able to note its changes.
"""

from django.db import migrations

from conversations.migrating.locks import LockingMigration

TABLES = [
    """
    CREATE TABLE conversation_changes (
        user_id uuid NOT NULL,
        conversation_id uuid NOT NULL,
        changed_in xid8 NOT NULL DEFAULT pg_current_xact_id(),
        changed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX idx_conversation_changes ON conversation_changes (user_id, changed_in)",
    """
    CREATE TABLE change_eras (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        began_in xid8 NOT NULL,
        began_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE UNLOGGED TABLE change_era_marks (era_id uuid NOT NULL)",
    "GRANT INSERT ON conversation_changes, change_eras, change_era_marks TO PUBLIC",
    "GRANT SELECT ON change_eras, change_era_marks TO PUBLIC",
]
# No transaction that changes something in this era has a lower number than the oldest one that is running now.
BEGIN_ERA = """
CREATE FUNCTION begin_change_era() RETURNS void LANGUAGE sql AS $$
    WITH era AS (
        INSERT INTO change_eras (began_in) VALUES (pg_snapshot_xmin(pg_current_snapshot())) RETURNING id
    )
    INSERT INTO change_era_marks SELECT id FROM era
$$
"""
# Conditions are in the functions and not in WHEN clauses, which PostgreSQL parses and plans again for each statement: comparing
# these columns took 100 µs there. A search path of the functions' own would take another 50 µs.
FUNCTION = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {body}
    IF NOT EXISTS (SELECT FROM change_era_marks) THEN
        PERFORM begin_change_era();
    END IF;
    RETURN NULL;
END $$
"""
# What a list shows of a conversation, and whether it shows it. The first one differs most often.
SHOWN = (
    "updated_at",
    "title",
    "is_favorited",
    "is_archived",
    "tags",
    "model_tag",
    "assistant_id",
    "expires_at",
    "deleted_at",
    "is_listed",
    "created_at",
    "forked_from",
    "session_id",
)
IS_SAME = " AND ".join(f"OLD.{column} IS NOT DISTINCT FROM NEW.{column}" for column in SHOWN)
FUNCTIONS = {
    "note_created_conversation": """
    IF NEW.user_id IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO conversation_changes (user_id, conversation_id) VALUES (NEW.user_id, NEW.id);
    """,
    # If it gets another user, both are told. A reply that ends meanwhile notes its change for the user that it finds, so one of
    # the two transactions waits for the other.
    "note_changed_conversation": f"""
    IF OLD.user_id IS DISTINCT FROM NEW.user_id THEN
        PERFORM FROM messages WHERE conversation_id = NEW.id AND status = 'streaming' FOR NO KEY UPDATE;
        INSERT INTO conversation_changes (user_id, conversation_id)
        SELECT owner.id, NEW.id FROM unnest(ARRAY[OLD.user_id, NEW.user_id]) AS owner (id) WHERE owner.id IS NOT NULL;
    ELSIF NEW.user_id IS NULL OR {IS_SAME} THEN
        RETURN NULL;
    ELSE
        INSERT INTO conversation_changes (user_id, conversation_id) VALUES (NEW.user_id, NEW.id);
    END IF;
    """,  # noqa: S608  # only names of columns go into it
    "note_deleted_conversations": """
    INSERT INTO conversation_changes (user_id, conversation_id) SELECT user_id, id FROM deleted WHERE user_id IS NOT NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
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
TRIGGERS = {
    "note_created": (
        "conversations",
        "AFTER INSERT ON conversations FOR EACH ROW EXECUTE FUNCTION note_created_conversation()",
    ),
    "note_changed": (
        "conversations",
        "AFTER UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION note_changed_conversation()",
    ),
    "note_deleted": (
        "conversations",
        "AFTER DELETE ON conversations REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT"
        " EXECUTE FUNCTION note_deleted_conversations()",
    ),
    # A reply that begins changes its conversation, and so does a message of the predecessor. Checkpoints set none of these.
    "note_changed_reply": (
        "messages",
        "AFTER UPDATE OF status, is_active, feedback ON messages FOR EACH ROW EXECUTE FUNCTION note_changed_message()",
    ),
    "note_queued": (
        "queued_messages",
        "AFTER INSERT OR UPDATE OR DELETE ON queued_messages FOR EACH ROW EXECUTE FUNCTION note_queued_message()",
    ),
}
CREATE = [
    *TABLES,
    BEGIN_ERA,
    "SELECT begin_change_era()",
    *(FUNCTION.format(name=name, body=body) for name, body in FUNCTIONS.items()),
    *(f"CREATE TRIGGER {name} {definition}" for name, (_, definition) in TRIGGERS.items()),
]
DROP = [
    *(f"DROP TRIGGER {name} ON {table}" for name, (table, _) in TRIGGERS.items()),
    *(f"DROP FUNCTION {name}()" for name in FUNCTIONS),
    "DROP FUNCTION begin_change_era()",
    "DROP TABLE change_era_marks",
    "DROP TABLE change_eras",
    "DROP TABLE conversation_changes",
]


class Migration(LockingMigration):
    dependencies = [("conversations", "0049_search_once")]
    locked_tables = ("messages", "conversations", "queued_messages")
    lock_mode = "SHARE ROW EXCLUSIVE"

    operations = [migrations.RunSQL(sql=[*CREATE], reverse_sql=[*DROP])]
