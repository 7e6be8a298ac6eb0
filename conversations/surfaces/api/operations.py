"""OpenAPI descriptions of the primary surface, as one decorator per operation."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample

from conversations.surfaces.api import requests, responses
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
    SEND_ERRORS,
    SSE,
    SSE_EXAMPLES,
    STARTED_REPLY,
    STOPPED_LATER,
    STREAMS,
    errors,
    example,
    header,
    limit,
    operation,
    path_id,
    query,
)

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
IN_CONVERSATION = [path_id("conversation_id")]
OF_MESSAGE = [*IN_CONVERSATION, path_id("message_id")]
HOW = [
    header("Prefer", "`respond-async`: answer 202 at once; `Content-Location` says where to follow the reply"),
    *STARTED_REPLY,
]
REPLY: dict[Any, Any] = {
    # JSON comes first, because generators of clients take the first type.
    (200, JSON): responses.MessageDetailSchema,
    **STREAMS,
    (202, JSON): responses.MessageDetailSchema,
    **GUARDED,
    **SEND_ERRORS,
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


class TicketScheme(OpenApiAuthenticationExtension):
    target_class = "conversations.surfaces.api.tickets.TicketAuthentication"
    name = "ticket"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "query",
            "name": "ticket",
            "description": "From `POST …/messages/{message_id}/ticket`. Valid for one reply, for 60 s.",
        }


health = operation(
    "health",
    "Report whether the process is alive",
    "service",
    auth=[],
    responses={(200, JSON): responses.HealthSchema, **errors(429)},
)
ready = operation(
    "ready",
    "Report whether the service can serve requests",
    "service",
    auth=[],
    responses={(200, JSON): responses.ReadinessSchema, (503, JSON): responses.ReadinessSchema, **errors(429)},
)
models = operation(
    "list_models",
    "List the models of the inference service",
    "models",
    responses={(200, JSON): responses.ModelListSchema, **GUARDED, **errors(502, 504)},
)
swap_model = operation(
    "swap_model",
    "Load another model (admins only)",
    "models",
    request=requests.SwapBody,
    examples=[example({"model_tag": "large"})],
    responses={(202, JSON): responses.SwapAnswerSchema, **GUARDED, **errors(400, 403, 413, 501, 502, 504)},
)
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
    responses={(200, JSON): responses.ConversationListSchema, **NOT_MODIFIED, **GUARDED, **errors(400)},
)
create_conversation = operation(
    "create_conversation",
    "Create a conversation",
    "conversations",
    parameters=[IDEMPOTENCY_KEY],
    request=requests.ConversationCreateBody,
    examples=[example({"title": "Tea"})],
    responses={(201, JSON): responses.ConversationSchema, **GUARDED, **errors(400, 403, 404, 413, 422)},
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
    responses={(200, JSON): responses.BulkAnswerSchema, **GUARDED, **errors(400, 413)},
)
list_tags = operation(
    "list_tags",
    "List the tags of your conversations with their numbers",
    "conversations",
    responses={(200, JSON): responses.TagListSchema, **GUARDED},
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
        query("limit", "Only so many conversations, 1 to 10,000", OpenApiTypes.INT),
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
        query("since", "The `next` of the last answer. Without it, the answer has only the cursor of now"),
        query("lastEventId", "Like Last-Event-ID, for clients that can't send the header"),
        header("Last-Event-ID", "For the stream: the id of the last event that you received. It wins over `since`"),
        limit(200, 50),
    ],
    responses={(200, JSON): responses.ChangesSchema, (200, SSE): CHANGE_EVENT, **GUARDED, **errors(400, 410)},
)
read_conversation = operation(
    "read_conversation",
    "Read a conversation with its newest messages: at most 1,000, 4 MiB of text, or `limit`. `next` leads to older messages",
    "conversations",
    parameters=[*IF_NONE_MATCH, *IN_CONVERSATION, LIMIT, CURSOR],
    responses={(200, JSON): responses.ConversationDetailSchema, **NOT_MODIFIED, **GUARDED, **errors(400, 404)},
)
replace_conversation = operation(
    "replace_conversation",
    "Change a conversation. The title is required",
    "conversations",
    parameters=[*IN_CONVERSATION, IF_MATCH],
    request=requests.ConversationPutBody,
    examples=[example({"title": "Green tea"})],
    responses={(200, JSON): responses.ConversationSchema, **GUARDED, **errors(400, 404, 412, 413)},
)
change_conversation = operation(
    "change_conversation",
    "Change some fields of a conversation",
    "conversations",
    parameters=[*IN_CONVERSATION, IF_MATCH],
    request=requests.ConversationPatchBody,
    examples=[example({"title": "Green tea"})],
    responses={(200, JSON): responses.ConversationSchema, **GUARDED, **errors(400, 404, 412, 413)},
)
fork_conversation = operation(
    "fork_conversation",
    "Copy the active branch up to a message into a new conversation. Each 200 messages count as a send",
    "conversations",
    parameters=[*IN_CONVERSATION, IDEMPOTENCY_KEY],
    request=requests.ForkBody,
    examples=[example({"title": "Another way"})],
    responses={(201, JSON): responses.ConversationSchema, **GUARDED, **errors(400, 404, 413, 422)},
)
delete_conversation = operation(
    "delete_conversation",
    "Stop the running reply, then delete the conversation with its messages",
    "conversations",
    parameters=[*IN_CONVERSATION, IF_MATCH],
    responses={204: None, **GUARDED, **errors(404, 412)},
)
delete_all_conversations = operation(
    "delete_all_conversations",
    "Delete all your listed conversations, also archived ones. Where the answer has `next`, repeat it with that as `cursor`",
    "conversations",
    parameters=[query("confirm", "`all`", enum=["all"], required=True), CURSOR],
    responses={(200, JSON): responses.BulkAnswerSchema, **GUARDED, **errors(400)},
)
restore_conversation = operation(
    "restore_conversation",
    "Take a conversation out of the trash",
    "conversations",
    parameters=IN_CONVERSATION,
    request=None,
    responses={(200, JSON): responses.ConversationSchema, **GUARDED, **errors(404)},
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
        (200, JSON): responses.MessageDetailSchema,
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
    responses={(200, JSON): responses.ConversationSchema, **GUARDED, **errors(404, 503)},
)
name_conversation = operation(
    "name_conversation",
    "Have a model make a title of the first question and its answer, where the service has `TITLE_MODEL`. Counts as a send",
    "conversations",
    parameters=IN_CONVERSATION,
    request=None,
    responses={(200, JSON): responses.ConversationSchema, **GUARDED, **errors(404, 409, 501, 502, 503, 504)},
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
list_messages = operation(
    "list_messages",
    "List messages, oldest first. The first page holds the newest messages",
    "messages",
    parameters=[
        *IF_NONE_MATCH,
        *IN_CONVERSATION,
        LIMIT,
        CURSOR,
        query(
            "versions",
            "`active`: only the active branch (default). `all`: inactive answers and replaced messages too",
            enum=["active", "all"],
        ),
    ],
    responses={(200, JSON): responses.MessageListSchema, **NOT_MODIFIED, **GUARDED, **errors(400, 404)},
)
send_message = operation(
    "send_message",
    "Send a message and receive the reply as a stream",
    "messages",
    parameters=[
        *IN_CONVERSATION,
        *HOW,
        IDEMPOTENCY_KEY,
        *RESUMED,
    ],
    request=requests.SendBody,
    responses=REPLY,
    examples=[example({"content": "hello"}), *SSE_EXAMPLES],
)
read_message = operation(
    "read_message",
    "Read a message",
    "messages",
    parameters=[*IF_NONE_MATCH, *OF_MESSAGE],
    responses={(200, JSON): responses.MessageDetailSchema, **NOT_MODIFIED, **GUARDED, **errors(404)},
)
edit_message = operation(
    "edit_message",
    "Edit a message of yours. This creates a new version and streams a new reply. What followed the old one comes back with "
    "it. A message that waits is changed in place, and returned as JSON; settings that the request leaves out stay",
    "messages",
    parameters=[*OF_MESSAGE, *HOW, IDEMPOTENCY_KEY, IF_MATCH, *RESUMED],
    request=requests.EditBody,
    responses={**REPLY, **errors(412)},
    examples=[example({"content": "hello"}), *SSE_EXAMPLES],
)
remove_queued_message = operation(
    "remove_queued_message",
    "Remove a message that waits for its turn",
    "messages",
    parameters=OF_MESSAGE,
    responses={204: None, **GUARDED, **errors(404, 409)},
)
regenerate_message = operation(
    "regenerate_message",
    "Generate another answer to this message, or to the one that it answers. The old answer, and what follows it, stay active "
    "until the new one is complete",
    "messages",
    parameters=[*OF_MESSAGE, *HOW, IDEMPOTENCY_KEY, *RESUMED],
    request=requests.SamplingBody,
    responses=REPLY,
    examples=[example({"temperature": 0.7}), *SSE_EXAMPLES],
)
continue_reply = operation(
    "continue_reply",
    "Continue the last reply, if it is unfinished: it was stopped, was interrupted, failed with text, or reached its limit. "
    "The stream begins after the text that the reply has. If the continuation fails, the reply gets its former status back",
    "messages",
    parameters=[*OF_MESSAGE, *HOW, IDEMPOTENCY_KEY, *RESUMED],
    request=requests.SamplingBody,
    responses=REPLY,
    examples=[example({"max_tokens": 1024}), *SSE_EXAMPLES],
)
activate_message = operation(
    "activate_message",
    "Make this message active, with what it follows, and with what was active below it when it was left",
    "messages",
    parameters=OF_MESSAGE,
    request=None,
    responses={(200, JSON): responses.MessageSchema, **GUARDED, **errors(400, 404, 409)},
)
follow_reply = operation(
    "follow_reply",
    "Follow a running reply, replay a finished one, or wait for one whose message waits",
    "messages",
    parameters=[
        *OF_MESSAGE,
        header("Last-Event-ID", "Id of the last event that you received. The stream continues after it. `done`: 204"),
        query(
            "after",
            "Like Last-Event-ID: `T`, `T-R` (code points of text and reasoning), `T-R-C` (calls) or `done`. The header wins",
        ),
        query("lastEventId", "The same, as event-source-polyfill sends it when it reconnects. It wins over `after`"),
    ],
    responses={**STREAMS, **GUARDED, **errors(400, 404)},
    examples=[*SSE_EXAMPLES],
)
issue_ticket = operation(
    "issue_ticket",
    "Get a ticket for the stream of a reply, for clients that can't send headers, such as EventSource",
    "messages",
    parameters=OF_MESSAGE,
    request=None,
    responses={(200, JSON): responses.TicketSchema, **GUARDED, **errors(404)},
)
rate_reply = operation(
    "rate_reply",
    "Rate a reply, or remove the rating",
    "messages",
    parameters=[*OF_MESSAGE, IF_MATCH],
    request=requests.FeedbackBody,
    examples=[example({"rating": 1, "comment": "Good tea"})],
    responses={(200, JSON): responses.MessageDetailSchema, **GUARDED, **errors(400, 404, 412, 413)},
)
list_assistants = operation(
    "list_assistants",
    "List the assistants that you may use, by name",
    "assistants",
    responses={(200, JSON): responses.AssistantListSchema, **GUARDED},
)
search = operation(
    "search",
    "Search your messages and titles. Groups of newer matches come first; within a group, titles and the best matches",
    "search",
    parameters=[
        query(
            "q",
            'All words must match. "…" is a phrase, `-` excludes a word, `or` allows alternatives. '
            "The last word may be a beginning. Chinese, Japanese, Korean or Thai text is found within longer text.",
            required=True,
        ),
        limit(50),
        CURSOR,
    ],
    responses={(200, JSON): responses.HitListSchema, **GUARDED, **errors(400)},
    examples=[
        OpenApiExample(
            "A hit",
            value={
                "items": [
                    {
                        "in": "message",
                        "message_id": "01920000-0000-7000-8000-000000000002",
                        "conversation_id": "01920000-0000-7000-8000-000000000001",
                        "conversation_title": "Tea",
                        "role": "user",
                        "created_at": "2026-11-20T09:30:00Z",
                        "snippet": "How long must &lt;green&gt; <mark>tea</mark> steep?",
                    }
                ],
                "limit": 20,
                "next": None,
            },
            response_only=True,
            status_codes=["200"],
        )
    ],
)
usage = operation(
    "usage",
    "Report your messages, tokens and inference time per day, including deleted messages",
    "usage",
    parameters=[
        query("days", "Number of days up to `to`: 1 to 92, default 30. Not together with `from`", OpenApiTypes.INT),
        query("from", "First day, at most 91 days before the last day", OpenApiTypes.DATE),
        query("to", "Last day. Default: today", OpenApiTypes.DATE),
        query("tz", "Time zone of the days, such as Asia/Kolkata. Default: UTC"),
    ],
    responses={(200, JSON): responses.UsageReportSchema, **GUARDED, **errors(400)},
)
list_users = operation(
    "list_users",
    "List users by id, with their numbers of conversations and messages, and totals (admins only). "
    "The list includes the users of the predecessor's table `users`",
    "service",
    parameters=[limit(100), CURSOR],
    responses={(200, JSON): responses.UserListSchema, **GUARDED, **errors(400, 403)},
)
read_instructions = operation(
    "read_instructions",
    "Read your own instructions: what the model is told in all your conversations",
    "instructions",
    responses={(200, JSON): responses.InstructionsSchema, **GUARDED},
)
save_instructions = operation(
    "save_instructions",
    "Save your own instructions. They follow the system prompt, except in temporary conversations",
    "instructions",
    request=requests.InstructionsBody,
    examples=[example({"instructions": "Answer in Dutch."})],
    responses={(200, JSON): responses.InstructionsSchema, **GUARDED, **errors(400, 413)},
)
delete_instructions = operation(
    "delete_instructions",
    "Delete your own instructions",
    "instructions",
    responses={204: None, **GUARDED},
)
