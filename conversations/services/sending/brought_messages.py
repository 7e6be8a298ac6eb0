"""Messages that a client brings: the history that a conversation begins with, and what was said since the last answer."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from conversations.exceptions import ConversationNotFound
from conversations.models import Conversation, Message, Role
from conversations.new_ids import new_id
from conversations.placeholders import output_text
from conversations.services.replies.versions import end_at, last_question
from conversations.services.sending.begin import send_turn
from conversations.services.sending.first_turns import begin_together
from conversations.services.sending.model_tags import with_model_list
from conversations.services.sending.statements import next_place
from conversations.services.sending.turn import Terms, Turn
from inference_proxy.protocols.tool_calls import OutputForm, ToolCall, write_call_id, write_calls

# The source of messages that a client brought: they can't be rated, and usage does not count them.
BROUGHT = "client"

# `send_turn` for a transaction that has begun. It does not read the list of models: that is done before the transaction is
# tried again.
send_in_transaction: Callable[..., Turn] = inspect.unwrap(send_turn)
begin_with_model_list = with_model_list(begin_together)

# PostgreSQL takes 65,535 parameters with a statement: fewer than 1,800 rows.
ROWS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class Said:
    """A message that a client brings along."""

    role: Literal["user", "assistant", "system", "tool"]
    content: str
    # Of an answer: the calls of tools in it. Of an output, which has the role `tool`: the call that it belongs to.
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    form: OutputForm = "text"

    @property
    def size(self) -> int:
        """The characters of its text and of its calls."""
        return len(self.content) + sum(len(call.arguments) for call in self.calls)


def send_turn_behind(
    *, brought: Sequence[Said], conversation_id: UUID, user_id: UUID, terms: Terms, idempotency_key: str, **question: Any
) -> Turn:
    """Add messages to a conversation, unless an earlier request with the same key did, and ask the question that follows them.

    With `terms.after`, they follow that message. Both are saved, or neither. Raises what `send_turn` raises.
    """

    def begin() -> Turn:
        theirs = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
        if theirs.select_for_update(no_key=True).values_list("id", flat=True).first() is None:
            raise ConversationNotFound
        messages = Message.objects.in_conversation(conversation_id)
        is_repeated = bool(idempotency_key) and messages.filter(idempotency_key=idempotency_key).exists()
        asked = terms
        # While a reply is running, the turn is refused below.
        if not is_repeated and not messages.running().exists():
            if terms.after is not None:
                end_at(messages, terms.after)
                asked = replace(terms, after=None)
            add_messages(conversation_id, brought)
        return send_in_transaction(
            conversation_id=conversation_id, user_id=user_id, terms=asked, idempotency_key=idempotency_key, **question
        )

    return begin_with_model_list(begin)


def add_messages(conversation_id: UUID, said: Sequence[Said]) -> list[UUID]:
    """Add messages that a client brought behind the last active one, and return their ids. The caller has locked the
    conversation."""
    messages = Message.objects.in_conversation(conversation_id)
    follows_id = messages.active_branch().newest_first().values_list("id", flat=True).first()
    asked = last_question(messages)
    added = rows_of(conversation_id, said, next_place(conversation_id), asked.id if asked else None)
    for message in added:
        if message.role != Role.ASSISTANT:
            message.follows_id = follows_id
        follows_id = message.id
    save_rows(added)
    return [message.id for message in added]


def save_rows(rows: list[Message]) -> None:
    """Insert the rows of messages that a client brought."""
    Message.objects.bulk_create(rows, batch_size=ROWS_PER_STATEMENT)


def rows_of(conversation_id: UUID, history: Sequence[Said], since: Any, asked_id: UUID | None = None) -> list[Message]:
    """Return the rows of these messages. `since` is the expression of the first one's time, `asked_id` the question before."""
    messages: list[Message] = []
    for place, said in enumerate(history):
        # Each has its own time, so that ids, which a node's clock makes, decide no order.
        said_at = since + timedelta(microseconds=place)
        message: dict[str, Any] = {"id": new_id(), "conversation_id": conversation_id, "content": said.content}
        message |= {"created_at": said_at, "source": BROUGHT}
        is_answer = said.role == "assistant"
        if said.role == "tool" or said.calls:
            tool_calls = write_calls(said.calls) if is_answer else write_call_id(said.call_id, said.form)
            message |= {"content": output_text(said.content), "tool_calls": tool_calls}
        # See `Message.tool_calls`.
        role = Role.USER if said.role == "tool" else said.role
        messages.append(Message(role=role, parent_id=asked_id if is_answer else None, **message))
        asked_id = messages[-1].id if role == Role.USER else asked_id
    return messages
