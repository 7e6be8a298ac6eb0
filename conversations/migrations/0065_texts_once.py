"""Look once per transaction and conversation for replies that need a text for the predecessor, and not for each message.

Each look reads the whole conversation. So a statement that inserted 25,000 messages into one conversation took minutes. Our
replies are never saved in the same transaction as the predecessor's messages.
"""

import importlib
from typing import Any

from django.db import migrations

BEFORE: Any = importlib.import_module("conversations.migrations.0058_short_conditions")

GIVE = "PERFORM give_texts(NEW.conversation_id);"
# A setting of the transaction: a rollback to a savepoint takes it back with the texts.
GIVE_ONCE = f"""
                IF current_setting('chat_api.gave_texts', true) IS DISTINCT FROM NEW.conversation_id::text THEN
                    {GIVE}
                    PERFORM set_config('chat_api.gave_texts', NEW.conversation_id::text, true);
                END IF;
"""


class Migration(migrations.Migration):
    dependencies = [("conversations", "0064_index_in_order")]

    operations = [
        migrations.RunSQL(sql=[BEFORE.MESSAGE_ADDED.replace(GIVE, GIVE_ONCE.strip())], reverse_sql=[BEFORE.MESSAGE_ADDED])
    ]
