"""Export everything that is stored about one user, as one .zip: for a person who asks for their data.

`history.jsonl` is a file of history like any other, which `import_history` can read. The other tables are lines of JSON.
`fields.json` says what each field means, and `index.html` shows the conversations with all versions to a reader. All of it is
written row by row, so memory does not depend on how much there is. Each batch is one snapshot.
"""

import io
import json
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, BinaryIO, cast
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone
from psycopg import sql

from chatapi.database.timestamps import OutOfRangeTime
from conversations.models import ChatUser, Conversation, Message
from conversations.services.history.exports.export import export_history
from conversations.services.history.exports.field_notes import FIELDS, LEFT_OUT
from conversations.services.history.files.json_lines import COLUMNS_SQL
from conversations.services.history.id_batches import Walk, prefer_indexes
from conversations.services.history.user_tables import BY_NAME
from inference_proxy.replies.streams import escape_line_ends

# Rows that are read at once.
BATCH = 500
# In the order in which they are in the archive. The history has a file of its own.
TABLES = ("chat_users", "user_quotas", "user_instructions", "usage_totals", "refused_requests", "staff_access")
PAGE_BEGINNING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>What is stored about you</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 0 auto; padding: 1rem; }}
body {{ color: #1b1b1b; background: #fff; }}
h2 {{ margin-top: 2.5rem; border-top: 1px solid #bbb; padding-top: 1rem; overflow-wrap: anywhere; }}
.m {{ border: 1px solid #ccc; border-radius: .5rem; padding: .5rem .75rem; margin: .5rem 0; }}
.m p {{ white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0; }}
.user {{ background: #eef5fa; }} .old {{ border-style: dashed; }} .n {{ color: #555; font-size: .8rem; }}
@media (prefers-color-scheme: dark) {{
body {{ color: #eee; background: #181818; }}
.m {{ border-color: #555; }} .user {{ background: #173747; }} .n {{ color: #bbb; }} }}
</style></head><body>
<h1>What is stored about {name}</h1>
<p>Made at {made_at} UTC. The other files have the same and more for programs.
<code>fields.json</code> says what each field means.</p>
"""
README = """What is stored about the user {user_id}, at {made_at} UTC.

index.html            the conversations, to read in a browser: all versions, ratings, comments
history.jsonl         conversations and messages with every column, and own instructions; import_history reads it
chat_users.jsonl      the entry in the directory of users
user_quotas.jsonl     the user's own limits
user_instructions.jsonl  the user's own instructions
usage_totals.jsonl    what was sent and generated, per quarter of an hour; deleting does not change it
refused_requests.jsonl  how many requests were refused per day, for three months
staff_access.jsonl    which staff read or exported what, when and what for
fields.json           what each field means

Each line of a .jsonl file is one JSON object. Times are in UTC. Not in here: the account at the auth service, logs, archives
and backups, and what the user has deleted.
"""


@dataclass(slots=True)
class EverythingResult:
    """What was written so far. `rows` is about the other tables."""

    conversations: int = 0
    messages: int = 0
    rows: int = 0
    is_complete: bool = False


def export_everything(
    *,
    target: BinaryIO,
    user_id: UUID,
    should_stop: Callable[[], bool] = lambda: False,
    on_batch: Callable[[EverythingResult], None] = lambda result: None,
) -> EverythingResult:
    """Write the archive. Stopped early, it is incomplete, and so is the result."""
    result = EverythingResult()
    made_at = f"{timezone.now():%Y-%m-%d %H:%M}"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        archive.writestr("README.txt", README.format(user_id=user_id, made_at=made_at))
        described = {name: {field: FIELDS[name].get(field, "") for field in _columns(name)} for name in FIELDS}
        archive.writestr("fields.json", json.dumps(described, indent=2))
        for table in TABLES:
            with archive.open(f"{table}.jsonl", "w", force_zip64=True) as member:
                result.rows += _write_rows(cast(BinaryIO, member), table, user_id)
        with archive.open("history.jsonl", "w", force_zip64=True) as member:
            history = export_history(target=cast(BinaryIO, member), user_id=user_id, should_stop=should_stop)
        result.conversations, result.messages = history.conversations, history.messages
        on_batch(result)
        if not history.is_complete:
            return result
        with archive.open("index.html", "w", force_zip64=True) as member:
            result.is_complete = _write_page(cast(BinaryIO, member), user_id, made_at, should_stop)
    return result


def _columns(table: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS_SQL, [table])
        return [name for (name,) in cursor.fetchall() if name not in LEFT_OUT.get(table, ())]


def _write_rows(target: BinaryIO, table: str, user_id: UUID) -> int:
    """Write the user's rows of a table, and return how many there are."""
    described = BY_NAME[table]
    columns = _columns(table)
    statement = sql.SQL(
        "COPY (SELECT row_to_json(row) FROM (SELECT {} FROM {} WHERE {} = {} ORDER BY {}) AS row) TO STDOUT"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(table),
        sql.Identifier(described.user_column),
        sql.Literal(str(user_id)),
        sql.Identifier(next((name for name in ("bucket", "day", "at") if name in columns), described.user_column)),
    )
    count = 0
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in copy:
            # COPY doubles backslashes, and JSON has no control characters.
            target.write(escape_line_ends(bytes(row).replace(b"\\\\", b"\\")))
            count += 1
    return count


def _write_page(target: BinaryIO, user_id: UUID, made_at: str, should_stop: Callable[[], bool]) -> bool:
    text = io.TextIOWrapper(target, encoding="utf-8", errors="replace", write_through=True)
    name = ChatUser.objects.filter(id=user_id).values_list("email", flat=True).first() or str(user_id)
    text.write(PAGE_BEGINNING.format(name=escape(name), made_at=made_at))
    walk = Walk(Conversation.objects.owned_by(user_id), batch_size=BATCH)
    while True:
        if should_stop():
            text.detach()
            return False
        with transaction.atomic():
            prefer_indexes()
            window = list(walk.next_window())
            found = Conversation.objects.only("title", "created_at", "updated_at", "tags", "deleted_at").in_bulk(window)
            for conversation_id in window:
                if conversation_id in found:
                    text.writelines(_conversation(found[conversation_id]))
        if not window:
            break
    text.write("</body></html>\n")
    text.detach()
    return True


def _conversation(conversation: Any) -> Iterator[str]:
    notes = [f"begun {_time(conversation.created_at)}", f"last turn {_time(conversation.updated_at)}"]
    notes += ["in the trash"] if conversation.deleted_at else []
    notes += [f"tags: {', '.join(conversation.tags)}"] if conversation.tags else []
    yield f'<h2>{escape(str(conversation))}</h2><p class="n">{escape("; ".join(notes))}</p>\n'
    columns = ("role", "status", "content", "reasoning", "created_at", "is_active", "model_tag", "feedback", "feedback_comment")
    messages = Message.objects.in_conversation(conversation.id).oldest_first().only(*columns)
    with closing(cast(Generator[Any, None, None], messages.iterator(chunk_size=BATCH))) as found:
        yield from map(_message, found)


def _message(message: Any) -> str:
    notes = [message.role, _time(message.created_at)]
    notes += [message.model_tag] if message.model_tag else []
    notes += [message.status] if message.status != "complete" else []
    notes += [] if message.is_active else ["another version"]
    notes += [{1: "rated good", -1: "rated bad"}[message.feedback]] if message.feedback in (1, -1) else []
    thought = f"<details><summary>Reasoning</summary><p>{escape(message.reasoning)}</p></details>" if message.reasoning else ""
    comment = f'<p class="n">Your comment: {escape(message.feedback_comment)}</p>' if message.feedback_comment else ""
    kind = f"m {escape(message.role)}{'' if message.is_active else ' old'}"
    noted = escape(", ".join(notes))
    return f'<div class="{kind}"><p class="n">{noted}</p>{thought}<p>{escape(message.content)}</p>{comment}</div>\n'


def _time(moment: datetime | None) -> str:
    if moment is None or isinstance(moment, OutOfRangeTime):
        return "time unknown"
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
