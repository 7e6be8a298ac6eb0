"""A turn that begins: what its request asks for, the settings that its conversation adds, and the reply to generate."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from conversations.exceptions import NotTheLastTurn
from conversations.models import Assistant
from conversations.services.replies.store import live_replies
from conversations.services.sending.context import SEPARATOR, Context
from conversations.services.sending.model_tags import model_of_turn
from conversations.services.sending.retries import Earlier, fingerprint_of
from conversations.services.sending.titles import automatic_title, is_unnamed
from inference_proxy.protocols.base import GenerationRequest, Sampling
from inference_proxy.protocols.tool_calls import OutputForm
from inference_proxy.replies.continuing import Former
from inference_proxy.replies.frames import START, Cursor


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply to generate. If `request` is None, an earlier request has begun it, or the message waits for its turn.

    `is_another` tells that a retry began the reply, in place of a void one. A client may know a part of that other reply.
    """

    conversation_id: UUID
    user_message_id: UUID
    reply_id: UUID
    request: GenerationRequest | None
    is_another: bool = False
    # Of a reply that is continued: what it was, and after which cursor it goes on.
    former: Former | None = None
    after: Cursor = START
    # Whether the message waits until other replies have ended.
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What one request asks for besides the question and the sampling.

    `instructions` follow the system prompt, in this turn only. Without `model_tag`, the conversation's model answers; without
    `assistant`, with the prompt and the defaults of the conversation's assistant. The question follows the reply with the id
    `after`, wherever that is. `fingerprint` is the request's own; it is saved even without an idempotency key. `options` are
    saved with the reply.
    """

    instructions: str = ""
    model_tag: str = ""
    after: UUID | None = None
    fingerprint: str = ""
    options: dict[str, Any] | None = None
    assistant: Assistant | None = None
    # Set if the content is not a question, but the output of this call.
    call_id: str = ""
    output_form: OutputForm = "text"

    def choices(self) -> dict[str, str]:
        """Return what tells two requests apart. Older requests chose neither."""
        assistant_id = None if self.assistant is None else str(self.assistant.id)
        return {name: value for name, value in (("model_tag", self.model_tag), ("assistant_id", assistant_id)) if value}

    def fingerprint_of_send(self, content: str, sampling: Sampling, idempotency_key: str) -> str:
        """Return what tells a send from others with its key. "" if it has no key and no fingerprint of its own."""
        if self.fingerprint or not idempotency_key:
            return self.fingerprint
        return fingerprint_of(content, sampling.choices() | self.choices())


NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class ReplySettings:
    """The settings for a conversation's replies."""

    id: UUID
    title: str | None
    title_source: str
    model_tag: str
    system_prompt: str
    sampling: Sampling
    # How many characters of the prompt are the user's own instructions.
    own_instructions: int = 0
    terms: Terms = NO_TERMS
    # Whether this request is a retry that begins another reply than the first one with its key.
    restarts: bool = False

    def new_title(self, content: str) -> str | None:
        """Return the automatic title for a conversation with this question, or None if it has a title."""
        names = is_unnamed(self.title, self.title_source) and not self.terms.call_id
        return automatic_title(content) if names else None

    def under(self, terms: Terms) -> "ReplySettings":
        """Return the settings for a turn with these terms. Raises `ModelListNeeded`."""
        if terms == self.terms:
            return self
        prompt = SEPARATOR.join(filter(None, (self.system_prompt, terms.instructions)))
        tag = model_of_turn(terms.model_tag, self.model_tag) if terms.model_tag else self.model_tag
        return replace(self, system_prompt=prompt, model_tag=tag, terms=terms)

    def summary_of(self, context: Context) -> dict[str, Any]:
        """Return the summary of a context that `Message.context` stores."""
        lengths = {"own_instructions": self.own_instructions, "instructions": len(self.terms.instructions)}
        more = {name: length for name, length in lengths.items() if length}
        return {**context.summary, **more, **({"restarted": True} if self.restarts else {})}


def turn_of_earlier(conversation_id: UUID, earlier: Earlier) -> Turn:
    if earlier.reply_id is None:
        raise NotTheLastTurn
    return Turn(
        conversation_id=conversation_id,
        user_message_id=earlier.asked_id,
        reply_id=earlier.reply_id,
        request=None,
        is_another=earlier.is_another,
    )


def new_turn(chosen: ReplySettings, asked_id: UUID, reply_id: UUID, context: Context, *, goes_on: bool) -> Turn:
    if not goes_on:
        live_replies.expect_no_longer(reply_id)
    request = GenerationRequest(
        messages=context.messages,
        system_prompt=context.system_prompt,
        model_tag=chosen.model_tag,
        sampling=chosen.sampling,
        rows=context.rows,
        newest=context.newest,
    )
    return Turn(
        conversation_id=chosen.id,
        user_message_id=asked_id,
        reply_id=reply_id,
        request=request if goes_on else None,
        is_another=chosen.restarts,
    )
