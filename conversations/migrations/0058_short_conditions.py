"""Make the conditions of the triggers on new messages short, and check the rest in their functions.

PostgreSQL parses and plans the condition of each trigger again for each statement, which took longer than inserting the rows. A
function that returns at once takes a twentieth of that. `note_activity` keeps a condition, because PostgreSQL would otherwise
remember each row until the commit. It passes over both messages of a turn of ours: the question has `is_followed` (see
migration 0046), and the reply has a worker.

One trigger does what `message_added` and `predecessor_added_answer` did: no row concerned both.

The functions that note a change of a conversation compare its time first, which a turn always changes, and look for the mark of
the era in the statement that inserts: each expression and each statement of a function is prepared anew in each transaction.
"""

import importlib
from typing import Any

from django.db import migrations

from conversations.migrating.locks import LockingMigration

NOTE: Any = importlib.import_module("conversations.migrations.0023_predecessors_activity")
BESIDE: Any = importlib.import_module("conversations.migrations.0029_beside_the_predecessor")
BEFORE: Any = importlib.import_module("conversations.migrations.0046_questions_of_our_own")
CHANGES: Any = importlib.import_module("conversations.migrations.0050_changes")

IS_NEAR = "NEW.created_at BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'"
NOTE_ACTIVITY = f"""
CREATE OR REPLACE FUNCTION note_activity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.parent_id IS NULL AND NEW.status = 'complete' AND {IS_NEAR} THEN
        UPDATE conversations SET updated_at = least(NEW.created_at, now())
        WHERE id = NEW.conversation_id AND (updated_at IS NULL OR updated_at < least(NEW.created_at, now()));
    END IF;
    RETURN NULL;
END $$
"""  # noqa: S608  # a constant
MESSAGE_ADDED = f"""
CREATE OR REPLACE FUNCTION message_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked uuid;
    newest uuid;
BEGIN
    IF NEW.is_followed IS NOT NULL OR NEW.parent_id IS NOT NULL OR NEW.source IS NOT NULL OR NEW.status <> 'complete' THEN
        RETURN NULL;
    END IF;
    IF NEW.role <> 'assistant' THEN
        IF {IS_NEAR} THEN
            PERFORM give_times(NEW.conversation_id, NEW.created_at);
            IF NEW.model_tag IS NOT NULL
                OR NOT EXISTS (SELECT FROM messages WHERE parent_id = NEW.id AND role = 'assistant') THEN
                PERFORM give_texts(NEW.conversation_id);
            END IF;
        END IF;
    ELSIF NEW.is_active THEN
        asked := (
            SELECT id FROM messages
            WHERE conversation_id = NEW.conversation_id AND role = 'user' AND is_active
                AND created_at <= NEW.created_at AND (created_at < NEW.created_at OR id < NEW.id)
            ORDER BY created_at DESC, id DESC LIMIT 1
        );
        IF EXISTS (SELECT FROM messages WHERE parent_id = asked AND role = 'assistant') THEN
            PERFORM FROM conversations WHERE id = NEW.conversation_id FOR NO KEY UPDATE;
            UPDATE messages SET parent_id = asked WHERE id = NEW.id;
            newest := (
                SELECT id FROM messages WHERE parent_id = asked AND role = 'assistant'
                ORDER BY created_at DESC, id DESC LIMIT 1
            );
            UPDATE messages SET is_active = (id = newest)
            WHERE parent_id = asked AND role = 'assistant' AND is_active <> (id = newest);
        END IF;
    END IF;
    RETURN NULL;
END $$
"""  # noqa: S608
DROP_ANSWER = ["DROP TRIGGER predecessor_added_answer ON messages", "DROP FUNCTION predecessor_added_answer()"]
TRIGGERS = [
    """
    CREATE CONSTRAINT TRIGGER note_activity AFTER INSERT ON messages
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.is_followed IS NULL AND NEW.worker IS NULL)
    EXECUTE FUNCTION note_activity()
    """,
    "CREATE TRIGGER message_added AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION message_added()",
]
NOTE_CHANGE = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_era_marked boolean;
BEGIN
    {check}
    INSERT INTO conversation_changes (user_id, conversation_id) VALUES (NEW.user_id, NEW.id)
    RETURNING EXISTS (SELECT FROM change_era_marks) INTO is_era_marked;
    IF NOT is_era_marked THEN
        PERFORM begin_change_era();
    END IF;
    RETURN NULL;
END $$
"""
CREATED = """
    IF NEW.user_id IS NULL THEN
        RETURN NULL;
    END IF;
"""
# If it gets another user, both are told: the former one first.
CHANGED = f"""
    IF OLD.user_id IS DISTINCT FROM NEW.user_id THEN
        PERFORM FROM messages WHERE conversation_id = NEW.id AND status = 'streaming' FOR NO KEY UPDATE;
        IF OLD.user_id IS NOT NULL THEN
            INSERT INTO conversation_changes (user_id, conversation_id) VALUES (OLD.user_id, NEW.id);
            IF NEW.user_id IS NULL THEN
                IF NOT EXISTS (SELECT FROM change_era_marks) THEN
                    PERFORM begin_change_era();
                END IF;
                RETURN NULL;
            END IF;
        END IF;
    ELSIF NEW.user_id IS NULL THEN
        RETURN NULL;
    ELSIF OLD.updated_at IS NOT DISTINCT FROM NEW.updated_at THEN
        IF {CHANGES.IS_SAME} THEN
            RETURN NULL;
        END IF;
    END IF;
"""  # noqa: S608  # only names of columns go into it
OLDER_FUNCTIONS = [
    NOTE.NOTE.format(time="least(NEW.created_at, now())"),
    BESIDE.MESSAGE_ADDED.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
    BESIDE.ANSWER_ADDED,
    *(
        CHANGES.FUNCTION.format(name=name, body=CHANGES.FUNCTIONS[name]).replace(
            "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
        )
        for name in ("note_created_conversation", "note_changed_conversation")
    ),
]
NOTES = [
    NOTE_CHANGE.format(name="note_created_conversation", check=CREATED),
    NOTE_CHANGE.format(name="note_changed_conversation", check=CHANGED),
]
OLDER_TRIGGERS = [*BEFORE._create(" AND NEW.is_followed IS NULL"), BESIDE.TRIGGERS[1]]


class Migration(LockingMigration):
    dependencies = [("conversations", "0057_legal_holds")]
    locked_tables = ("messages",)
    lock_mode = "SHARE ROW EXCLUSIVE"

    operations = [
        migrations.RunSQL(
            sql=[*BEFORE.DROP, *DROP_ANSWER, NOTE_ACTIVITY, MESSAGE_ADDED, *NOTES, *TRIGGERS],
            reverse_sql=[*BEFORE.DROP, *OLDER_FUNCTIONS, *OLDER_TRIGGERS],
        )
    ]
