"""Messages, what the model received of them, and where a search found them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, field

from chatapi.api.rows import Row
from conversations.models import DEFAULT_TITLE, Role
from inference_proxy.protocols.tool_calls import read_call_id, read_calls

# The status of a message that waits for its turn. It is no row of `messages` yet.
QUEUED = "queued"
# The role of outputs of tools, see `Message.tool_calls`.
TOOL: Literal["tool"] = "tool"


class ToolCallSchema(Struct):
    ref_name: ClassVar = "ToolCall"

    id: str
    name: str
    arguments: Annotated[str, Meta(description="JSON, as the model wrote it.")]


class MessageSchema(Row):
    ref_name: ClassVar = "Message"
    # `queries` counts the versions, where the column `has_versions` says that there are several.
    computed: ClassVar = ("version", "versions", "reply_id", "tool_call_id")

    id: UUID
    conversation_id: UUID
    role: Annotated[
        Literal["user", "assistant", "system", "tool"], Meta(description="`tool`: the content is the output of a call.")
    ]
    content: str
    token_count: Annotated[int, Meta(ge=0)]
    model_tag: str
    inference_time_ms: Annotated[int, Meta(ge=0)]
    created_at: datetime
    status: Annotated[
        Literal["streaming", "complete", "stopped", "interrupted", "failed", "queued"],
        Meta(description="`queued`: the message waits until a reply has ended. Its reply is at `/messages/{reply_id}/stream`."),
    ]
    parent_id: Annotated[
        UUID | None,
        Meta(description="For a reply: the user message that it answers. For an edited message: its first version."),
    ]
    follows_id: Annotated[
        UUID | None,
        Meta(
            description="For a user message: the message that it follows, usually a reply. Null: the first one, or an old one, "
            "which follows the one before it."
        ),
    ]
    version: Annotated[
        int, Meta(ge=1, description="Which of the versions of a user message, or of the answers to it, this is.")
    ]
    versions: Annotated[int, Meta(ge=1, description="How many there are.")]
    reply_id: Annotated[UUID | None, Meta(description="For a message that waits: the id that its reply will have.")]
    is_active: Annotated[bool, Meta(description="Whether the message is on the active branch.")]
    error_code: str | None
    feedback: Annotated[int, Meta(ge=-1, le=1)] | None
    reasoning: Annotated[str, Meta(description="What the model thought before its answer. Empty: nothing.")]
    finish_reason: Annotated[
        str, Meta(description="Why the model ended, in its own word, such as `stop` or `length`. Empty: unknown.")
    ]
    tool_calls: Annotated[
        list[ToolCallSchema], Meta(description="What the model asks its client to run. The service runs nothing.")
    ]
    tool_call_id: Annotated[str, Meta(description="Of a message of the role `tool`: the call that it is the output of.")]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> list[Self]:
        responses = super().from_rows(rows)
        for made, row in zip(responses, rows, strict=True):
            if stored := row["tool_calls"]:
                made.tool_calls = [ToolCallSchema(*call) for call in read_calls(stored)]
                made.tool_call_id = read_call_id(stored)
                if made.tool_call_id:
                    made.role = TOOL
        return responses


class ContextSchema(Struct):
    ref_name: ClassVar = "Context"

    messages: Annotated[int, Meta(ge=1, description="Number of messages that the model received, without the system prompt.")]
    characters: Annotated[int, Meta(ge=0, description="Their total length in characters, including the system prompt.")]
    left_out: Annotated[int, Meta(ge=0, description="Number of older messages that the model did not receive, up to 1,000.")]
    reason: Annotated[
        Literal["messages", "characters", "refused", "unanswered"] | None,
        Meta(
            description="Why messages were left out. `messages` or `characters`: that limit was reached. `refused`: a question "
            "that the model's provider refused for its content. `unanswered`: only answers without a question. Null: nothing "
            "was left out."
        ),
    ]
    system_prompt_left_out: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="Number of characters cut from the system prompt, because the inference service limits its length."),
    ] = UNSET
    instructions: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="Number of characters of the request's own instructions, which follow the system prompt."),
    ] = UNSET
    own_instructions: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="Number of characters of the user's own instructions, which come between both."),
    ] = UNSET
    restarted: Annotated[
        bool | UnsetType,
        Meta(
            description="True if a request with a repeated Idempotency-Key began this reply, because an earlier one "
            "came to nothing."
        ),
    ] = UNSET


class MessageDetailSchema(MessageSchema):
    ref_name: ClassVar = "MessageDetail"

    context: Annotated[
        ContextSchema | None, Meta(description="For a reply: the part of the conversation that the model received.")
    ]


class MessageListSchema(Struct):
    items: list[MessageSchema]
    limit: int
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get older messages. Null on the last page.")]


class HitSchema(Row):
    ref_name: ClassVar = "Hit"

    found_in: Annotated[Literal["message", "title"], Meta(description="What was found.")] = field(name="in")
    message_id: Annotated[UUID | None, Meta(description="Null for a title.")]
    conversation_id: UUID
    conversation_title: Annotated[str, Meta(extra={"empty": DEFAULT_TITLE})]
    role: Annotated[Role | None, Meta(description="Null for a title.")]
    created_at: Annotated[datetime, Meta(description="For a title: the time of the last turn.")]
    snippet: Annotated[str, Meta(description="Escaped for HTML. Matches are inside `<mark>`.")]


class HitListSchema(Struct):
    items: list[HitSchema]
    limit: int
    next: Annotated[str | None, Meta(description="Pass it as `cursor` to get more hits. Null if there are no more.")]


class TicketSchema(Struct):
    ref_name: ClassVar = "Ticket"

    ticket: Annotated[str, Meta(description="Pass it as `?ticket=` to `/stream`, instead of the Authorization header.")]
    expires_in: Annotated[int, Meta(ge=1, description="Seconds. A stream that has begun continues after that.")]
