"""Response bodies of the AI SDK surface."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from chatapi.api.rows import Row, known_time
from conversations.models import DEFAULT_TITLE, Role, Status
from conversations.surfaces.ai_sdk.tool_parts import AVAILABLE, FAILED, call_input
from inference_proxy.protocols.tool_calls import ToolCall, read_call_id, read_calls, read_form


class PartSchema(Struct, rename="camel"):
    ref_name: ClassVar = "UIMessagePart"

    type: Annotated[
        str,
        Meta(
            description="`text`, `reasoning`, `tool-` and the name of a tool, or `step-start` before what the model said to "
            "outputs of tools."
        ),
    ]
    text: Annotated[str | UnsetType, Meta(description="Of a text or reasoning.")] = UNSET
    state: Annotated[
        Literal["done", "input-available", "output-available", "output-error"] | UnsetType,
        Meta(description="Only in replies. The last three: of a tool."),
    ] = UNSET
    tool_call_id: str | UnsetType = UNSET
    input: Annotated[Any, Meta(description="The arguments of a call. A text if the model did not write JSON.")] = UNSET
    output: Annotated[Any, Meta(description="What the client sent with the state `output-available`.")] = UNSET
    error_text: Annotated[str | UnsetType, Meta(description="What the client sent with the state `output-error`.")] = UNSET


class MetadataSchema(Struct, rename="camel"):
    ref_name: ClassVar = "UIMessageMetadata"

    created_at: datetime
    status: Annotated[Status | UnsetType, Meta(description="Only in replies.")] = UNSET
    finish_reason: Annotated[
        str | UnsetType, Meta(description="Only in replies: why the model ended this one. Empty if it did not say.")
    ] = UNSET


class UIMessageSchema(Struct):
    ref_name: ClassVar = "UIMessage"

    id: Annotated[
        str,
        Meta(description="For a user message that a client named: that name. It stays when it is edited under this name."),
    ]
    role: Literal["user", "assistant"]
    parts: list[PartSchema]
    metadata: MetadataSchema


class ChatSchema(Row):
    ref_name: ClassVar = "Chat"

    # The id from the path: the client's name for the chat.
    id: str
    title: Annotated[str, Meta(extra={"empty": DEFAULT_TITLE})]


class ChatDetailSchema(ChatSchema):
    ref_name: ClassVar = "ChatDetail"

    messages: list[UIMessageSchema]


# The columns that `ui_message` reads.
MESSAGE_COLUMNS = (
    "id",
    "role",
    "content",
    "reasoning",
    "status",
    "finish_reason",
    "created_at",
    "tool_calls",
    "parent_id",
    "idempotency_key",
    "parent__idempotency_key",
)


def ui_message(row: Mapping[str, Any]) -> UIMessageSchema:
    """Return a message as the SDK keeps it, from a row with at least MESSAGE_COLUMNS."""
    created_at = known_time(row["created_at"])
    if row["role"] != Role.ASSISTANT:
        parts = [PartSchema("text", text=row["content"])]
        return UIMessageSchema(name_of_question(row), row["role"], parts, MetadataSchema(created_at))
    metadata = MetadataSchema(created_at, row["status"], row["finish_reason"] or "")
    parts = _reply_parts(row["reasoning"], row["content"], read_calls(row["tool_calls"]))
    return UIMessageSchema(str(row["id"]), row["role"], parts, metadata)


def whole_messages(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the rows of each message of the SDK, from rows in the order of time.

    The outputs of tools are in the message with the calls, and so is the reply to them. If the rows begin with outputs, these
    are left out: they belong to a message before.
    """
    found: list[Mapping[str, Any]] = []
    for row in rows:
        goes_on = is_output(row) or (row["role"] == Role.ASSISTANT and bool(found) and is_output(found[-1]))
        if found and not goes_on:
            yield found
            found = []
        if found or not is_output(row):
            found.append(row)
    if found:
        yield found


def merged_message(rows: Sequence[Mapping[str, Any]]) -> UIMessageSchema:
    """Return the message of these rows: a question, a reply, or a reply with outputs and what the model said to them."""
    shown = ui_message(rows[0])
    for row in rows[1:]:
        if is_output(row):
            _add_output(shown.parts, read_call_id(row["tool_calls"]), row)
            continue
        more = ui_message(row)
        shown.parts += [PartSchema("step-start"), *more.parts]
        shown.metadata.status, shown.metadata.finish_reason = more.metadata.status, more.metadata.finish_reason
    return shown


def is_output(row: Mapping[str, Any]) -> bool:
    return row["role"] != Role.ASSISTANT and bool(row["tool_calls"])


def _add_output(parts: list[PartSchema], call_id: str, row: Mapping[str, Any]) -> None:
    for part in reversed(parts):
        if part.tool_call_id == call_id:
            form = read_form(row["tool_calls"])
            if form == "error":
                part.state, part.error_text = FAILED, row["content"]
            else:
                part.state = AVAILABLE
                part.output = row["content"] if form == "text" else call_input(row["content"])
            return


def name_of_question(row: Mapping[str, Any]) -> str:
    """Return the client's id of a question, else that of its first version, else the first version's own id.

    A client that edits under the old id gives none to the new version. A client that edits by sending another question in the
    old one's place does.
    """
    name = row["idempotency_key"] or row["parent__idempotency_key"]
    return name or str(row["parent_id"] or row["id"])


def _reply_parts(reasoning: str | None, text: str, calls: Iterable[ToolCall]) -> list[PartSchema]:
    parts = [PartSchema("reasoning", text=reasoning, state="done")] if reasoning else []
    called = [
        PartSchema(f"tool-{call.name}", state="input-available", tool_call_id=call.id, input=call_input(call.arguments))
        for call in calls
    ]
    # The SDK's own validation refuses a message without parts.
    if text or not (parts or called):
        parts.append(PartSchema("text", text=text, state="done"))
    return parts + called
