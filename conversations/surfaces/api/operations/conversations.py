"""OpenAPI descriptions of conversations: their lists, their export and changes, and what is done with a whole conversation."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample

from conversations.surfaces.api import requests
from conversations.surfaces.api.operations.shared import HOW, IN_CONVERSATION, REPLY
from conversations.surfaces.api.responses.conversations import (
    BulkResponseSchema,
    ChangesSchema,
    ConversationDetailSchema,
    ConversationListSchema,
    ConversationSchema,
    TagListSchema,
)
from conversations.surfaces.api.responses.messages import MessageDetailSchema
from conversations.surfaces.openapi import (
    CURSOR,
    GUARDED,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    LIMIT,
    NDJSON,
    NOT_MODIFIED,
    RESUMED,
    SSE,
    SSE_EXAMPLES,
    STOPPED_LATER,
    errors,
    example,
    header,
    limit,
    operation,
    query,
)
from conversations.surfaces.request_weights import BYTES_PER_SEND, MESSAGES_PER_SEND

MARKDOWN = "text/markdown"
CONVERSATION_DOCUMENT: dict[str, Any] = {
    "type": "object",
    "description": "The columns of the conversation and of its messages, oldest first, as in the lines of an export.",
    "properties": {
        "conversation": {"type": ["object", "null"], "additionalProperties": True},
        "messages": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
    },
    "required": ["conversation", "messages"],
}
CHANGE_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event of the stream. The first one comes at once. A comment comes first, and while nothing changes.",
    "properties": {
        "id": {"type": "string", "description": "The `next` in the data."},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {"$ref": "#/components/schemas/Changes"},
        },
    },
    "required": ["id", "data"],
}
list_conversations = operation(
    "list_conversations",
    "List your conversations, most recent activity first",
    "conversations",
    parameters=[
        *IF_NONE_MATCH,
        LIMIT,
        CURSOR,
        query("offset", "0 to 10,000. Use `cursor` for further pages", OpenApiTypes.INT),
        query("tz", "Time zone of the days in `grouped`, such as Asia/Kolkata. Default: UTC"),
        query("favorited", "`true`: only favourites. `false`: only other conversations", OpenApiTypes.BOOL),
        query("archived", "`true`: only archived conversations. Without it they are left out", OpenApiTypes.BOOL),
        query(
            "deleted",
            "`true`: the trash, for as many days as the service keeps it. Only with `limit`, `cursor` and `tz`",
            OpenApiTypes.BOOL,
        ),
        query("tag", "Only conversations with this tag, in any case, among 10,000 tagged ones per request. `next` leads on"),
        query("q", "Only conversations whose title contains this text, among 10,000 per request. `next` leads on"),
    ],
    responses={(200, JSON): ConversationListSchema, **NOT_MODIFIED, **GUARDED, **errors(400)},
)
create_conversation = operation(
    "create_conversation",
    "Create a conversation",
    "conversations",
    parameters=[IDEMPOTENCY_KEY],
    request=requests.ConversationCreateBody,
    examples=[example({"title": "Tea"})],
    responses={(201, JSON): ConversationSchema, **GUARDED, **errors(400, 403, 404, 413, 422)},
)
change_conversations = operation(
    "change_conversations",
    "Archive, delete, restore or tag many conversations at once: some by their ids, or all that match. It may be repeated",
    "conversations",
    request=requests.BulkBody,
    examples=[
        example({"action": "tag", "ids": ["01920000-0000-7000-8000-000000000001"], "tags": ["Tea"]}),
        OpenApiExample("All", value={"action": "archive", "all": True, "filters": {"favorited": False}}, request_only=True),
    ],
    responses={(200, JSON): BulkResponseSchema, **GUARDED, **errors(400, 413)},
)
list_tags = operation(
    "list_tags",
    "List the tags of your conversations with their numbers",
    "conversations",
    responses={(200, JSON): TagListSchema, **GUARDED},
)
export_history = operation(
    "export_history",
    "Download all your conversations, the least recent activity first. One export at a time. Temporary ones are not part of it",
    "conversations",
    parameters=[
        query(
            "format", "`jsonl`: lines with everything, which can be imported. `markdown`: to read", enum=["jsonl", "markdown"]
        ),
        query("after", "`updated_at` and `id` of a conversation, with a comma between them: go on behind it"),
        query("limit", "At most this many conversations, 1 to 10,000", OpenApiTypes.INT),
    ],
    responses={
        (200, NDJSON): OpenApiTypes.BINARY,
        (200, MARKDOWN): OpenApiTypes.STR,
        **GUARDED,
        **errors(400, 503),
    },
)
export_conversation = operation(
    "export_conversation",
    "Download a conversation: all versions as JSON, or what is shown as Markdown",
    "conversations",
    parameters=[*IN_CONVERSATION, query("format", "`json` or `markdown`", enum=["json", "markdown"])],
    responses={
        (200, JSON): CONVERSATION_DOCUMENT,
        (200, MARKDOWN): OpenApiTypes.STR,
        **GUARDED,
        **errors(400, 404, 503),
    },
)
list_changes = operation(
    "list_changes",
    "List what changed in your conversations since a cursor, each change once, or stream it as it happens",
    "conversations",
    parameters=[
        query("since", "The `next` of the last answer. Without it, the answer has only the current cursor"),
        query("lastEventId", "Like Last-Event-ID, for clients that can't send the header"),
        header("Last-Event-ID", "For the stream: the id of the last event that you received. It wins over `since`"),
        limit(200, 50),
    ],
    responses={(200, JSON): ChangesSchema, (200, SSE): CHANGE_EVENT, **GUARDED, **errors(400, 410)},
)
read_conversation = operation(
    "read_conversation",
    "Read a conversation with its newest messages: at most 1,000, 4 MiB of text, or `limit`. `next` leads to older messages",
    "conversations",
    parameters=[*IF_NONE_MATCH, *IN_CONVERSATION, LIMIT, CURSOR],
    responses={(200, JSON): ConversationDetailSchema, **NOT_MODIFIED, **GUARDED, **errors(400, 404)},
)
replace_conversation = operation(
    "replace_conversation",
    "Change a conversation. The title is required",
    "conversations",
    parameters=[*IN_CONVERSATION, IF_MATCH],
    request=requests.ConversationPutBody,
    examples=[example({"title": "Green tea"})],
    responses={(200, JSON): ConversationSchema, **GUARDED, **errors(400, 404, 412, 413)},
)
change_conversation = operation(
    "change_conversation",
    "Change some fields of a conversation",
    "conversations",
    parameters=[*IN_CONVERSATION, IF_MATCH],
    request=requests.ConversationPatchBody,
    examples=[example({"title": "Green tea"})],
    responses={(200, JSON): ConversationSchema, **GUARDED, **errors(400, 404, 412, 413)},
)
fork_conversation = operation(
    "fork_conversation",
    f"Copy the active branch up to a message into a new conversation. Each {MESSAGES_PER_SEND} messages, or "
    f"{BYTES_PER_SEND // 1024} KiB of text, count as one more send",
    "conversations",
    parameters=[*IN_CONVERSATION, IDEMPOTENCY_KEY],
    request=requests.ForkBody,
    examples=[example({"title": "Another way"})],
    responses={(201, JSON): ConversationSchema, **GUARDED, **errors(400, 404, 409, 413, 422)},
)
delete_conversation = operation(
    "delete_conversation",
    "Stop the running reply, then delete the conversation with its messages",
    "conversations",
    parameters=[*IN_CONVERSATION, IF_MATCH],
    responses={204: None, **GUARDED, **errors(404, 412, 423)},
)
delete_all_conversations = operation(
    "delete_all_conversations",
    "Delete all your listed conversations, also archived ones. Where the answer has `next`, repeat it with that as `cursor`",
    "conversations",
    parameters=[query("confirm", "`all`", enum=["all"], required=True), CURSOR],
    responses={(200, JSON): BulkResponseSchema, **GUARDED, **errors(400)},
)
restore_conversation = operation(
    "restore_conversation",
    "Take a conversation out of the trash",
    "conversations",
    parameters=IN_CONVERSATION,
    request=None,
    responses={(200, JSON): ConversationSchema, **GUARDED, **errors(404)},
)
stop_reply = operation(
    "stop_reply",
    "Stop the running reply and keep its text. With the key of a message that waits, remove that message",
    "conversations",
    parameters=[
        *IN_CONVERSATION,
        IDEMPOTENCY_KEY,
        query(
            "queued",
            "What happens to messages that wait. `keep`: they wait until the next send or `resume` (default). `drop`: they are "
            "removed",
            enum=["keep", "drop"],
        ),
    ],
    request=None,
    responses={
        (200, JSON): MessageDetailSchema,
        **STOPPED_LATER,
        **GUARDED,
        **errors(400, 404),
    },
)
resume_queue = operation(
    "resume_queue",
    "Let the messages go on that wait since a stop. If nothing runs, the first one has its turn now",
    "conversations",
    parameters=IN_CONVERSATION,
    request=None,
    responses={(200, JSON): ConversationSchema, **GUARDED, **errors(404, 503)},
)
name_conversation = operation(
    "name_conversation",
    "Have a model make a title of the first question and its answer, where the service has `TITLE_MODEL`. Counts as a send",
    "conversations",
    parameters=IN_CONVERSATION,
    request=None,
    responses={(200, JSON): ConversationSchema, **GUARDED, **errors(404, 409, 501, 502, 503, 504)},
)
regenerate = operation(
    "regenerate",
    "Generate another answer to the last user message. The old answer stays active until the new one is complete",
    "conversations",
    parameters=[*IN_CONVERSATION, *HOW, IDEMPOTENCY_KEY, *RESUMED],
    request=requests.SamplingBody,
    responses=REPLY,
    examples=[example({"temperature": 0.7}), *SSE_EXAMPLES],
)
