"""Keep conversations right that the predecessor and this service both write to, with triggers on what the predecessor writes.

- Its inference service refuses a history with an empty message. When it saves or deletes a message, our replies without text
  in the same conversation get a text that it can send (see `conversations.placeholders`). Nothing else writes this text, so
  conversations that the predecessor does not use, and nodes of the version before, never see one.
- To regenerate, it deletes the newest answer and saves one without a parent. That answer now belongs to the question before
  it if that has other answers, and the newest of them is active. While there is no new one, an older one is active.
- Its rows may have no time, or an infinite one, and sort after all others. When a message is said after them, they get times
  just before it, in their order, so that the new message is the last one.

Each function that has something to change first locks the conversation, as all our own writers do.
"""

from django.db import migrations

from conversations.migrating.locks import LockingMigration

# Our replies have a context, those of a history that a client brought are never empty.
GIVE_TEXTS = """
CREATE FUNCTION give_texts(conversation uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM messages WHERE conversation_id = conversation AND content = '' AND role = 'assistant'
        AND (context IS NOT NULL OR status <> 'complete')
    ) THEN
        PERFORM FROM conversations WHERE id = conversation FOR NO KEY UPDATE;
        UPDATE messages SET content = U&'\\2026\\2060' WHERE conversation_id = conversation AND content = ''
            AND role = 'assistant' AND (context IS NOT NULL OR status <> 'complete');
    END IF;
END $$
"""
# Rows that were never said by any clock, in the order in which they are shown.
GIVE_TIMES = """
CREATE FUNCTION give_times(conversation uuid, before timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM messages WHERE conversation_id = conversation AND created_at >= '9999-01-01 00:00+00')
        OR EXISTS (SELECT FROM messages WHERE conversation_id = conversation AND created_at IS NULL)
    THEN
        PERFORM FROM conversations WHERE id = conversation FOR NO KEY UPDATE;
        UPDATE messages SET created_at = before - ranked.place * interval '1 microsecond'
        FROM (
            SELECT id, row_number() OVER (ORDER BY created_at DESC, id DESC) AS place FROM messages
            WHERE conversation_id = conversation AND (created_at >= '9999-01-01 00:00+00' OR created_at IS NULL)
        ) AS ranked
        WHERE messages.id = ranked.id;
    END IF;
END $$
"""
# Our own question has a reply from the same statement.
MESSAGE_ADDED = """
CREATE FUNCTION message_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM give_times(NEW.conversation_id, NEW.created_at);
    IF NEW.model_tag IS NOT NULL OR NOT EXISTS (SELECT FROM messages WHERE parent_id = NEW.id AND role = 'assistant') THEN
        PERFORM give_texts(NEW.conversation_id);
    END IF;
    RETURN NULL;
END $$
"""
ANSWER_ADDED = """
CREATE FUNCTION predecessor_added_answer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked uuid := (
        SELECT id FROM messages
        WHERE conversation_id = NEW.conversation_id AND role = 'user' AND is_active
            AND created_at <= NEW.created_at AND (created_at < NEW.created_at OR id < NEW.id)
        ORDER BY created_at DESC, id DESC LIMIT 1
    );
    newest uuid;
BEGIN
    IF EXISTS (SELECT FROM messages WHERE parent_id = asked AND role = 'assistant') THEN
        PERFORM FROM conversations WHERE id = NEW.conversation_id FOR NO KEY UPDATE;
        UPDATE messages SET parent_id = asked WHERE id = NEW.id;
        newest := (
            SELECT id FROM messages WHERE parent_id = asked AND role = 'assistant' ORDER BY created_at DESC, id DESC LIMIT 1
        );
        UPDATE messages SET is_active = (id = newest)
        WHERE parent_id = asked AND role = 'assistant' AND is_active <> (id = newest);
    END IF;
    RETURN NULL;
END $$
"""
# Deletes by the foreign key run inside its trigger, so their depth is not 0.
DELETED = """
CREATE FUNCTION predecessor_deleted_messages() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gap record;
BEGIN
    FOR gap IN SELECT DISTINCT conversation_id, parent_id FROM deleted WHERE role = 'assistant' AND is_active LOOP
        IF EXISTS (SELECT FROM messages WHERE parent_id = gap.parent_id AND role = 'assistant') THEN
            PERFORM FROM conversations WHERE id = gap.conversation_id FOR NO KEY UPDATE;
            UPDATE messages SET is_active = true
            WHERE id = (
                SELECT id FROM messages WHERE parent_id = gap.parent_id AND role = 'assistant'
                ORDER BY content IN ('', U&'\\2026\\2060'), created_at DESC, id DESC LIMIT 1
            ) AND NOT EXISTS (
                SELECT FROM messages WHERE parent_id = gap.parent_id AND role = 'assistant' AND is_active
            );
        END IF;
    END LOOP;
    PERFORM give_texts(conversation_id) FROM (SELECT DISTINCT conversation_id FROM deleted WHERE role = 'assistant') AS touched;
    RETURN NULL;
END $$
"""
# A message that is new, and not from an import, as for the trigger `note_activity`.
IS_NEW = "NEW.created_at BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'"
TRIGGERS = [
    f"""
    CREATE TRIGGER message_added AFTER INSERT ON messages FOR EACH ROW
    WHEN ({IS_NEW} AND NEW.parent_id IS NULL AND NEW.status = 'complete' AND NEW.source IS NULL AND NEW.role <> 'assistant')
    EXECUTE FUNCTION message_added()
    """,
    """
    CREATE TRIGGER predecessor_added_answer AFTER INSERT ON messages FOR EACH ROW
    WHEN (NEW.parent_id IS NULL AND NEW.status = 'complete' AND NEW.source IS NULL AND NEW.role = 'assistant' AND NEW.is_active)
    EXECUTE FUNCTION predecessor_added_answer()
    """,
    """
    CREATE TRIGGER predecessor_deleted_messages AFTER DELETE ON messages REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION predecessor_deleted_messages()
    """,
]
NAMES = ("message_added", "predecessor_added_answer", "predecessor_deleted_messages")
DROP = [
    *(f"DROP TRIGGER {name} ON messages" for name in NAMES),
    *(f"DROP FUNCTION {name}()" for name in NAMES),
    "DROP FUNCTION give_texts(uuid)",
    "DROP FUNCTION give_times(uuid, timestamptz)",
]


class Migration(LockingMigration):
    dependencies = [("conversations", "0028_texts_for_the_predecessor")]
    locked_tables = ("messages",)
    lock_mode = "SHARE ROW EXCLUSIVE"

    operations = [
        migrations.RunSQL(sql=[GIVE_TEXTS, GIVE_TIMES, MESSAGE_ADDED, ANSWER_ADDED, DELETED, *TRIGGERS], reverse_sql=[*DROP])
    ]
