"""The interface of the store that keeps replies. `inference_proxy` knows no database: the application hands it a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from inference_proxy.protocols.tool_calls import ToolCall

FinalStatus = Literal["complete", "stopped", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A running reply at a checkpoint. A channel is None if nothing came in it since the last one."""

    reply_id: UUID
    text: str | None
    # Whether a client is waiting for it.
    is_followed: bool = True
    reasoning: str | None = None
    # Which continuation of the reply this is, 0 for the reply itself. The row must not have gone on with a later one.
    continuation: int = 0
    # How much of the reasoning came before the text, None if all of it.
    reasoning_before_text: int | None = None


@dataclass(frozen=True, slots=True)
class Directives:
    """What the store knows of the running replies: those that a user asked to stop, and those that exist no more.

    `skipped` are those whose rows somebody has locked: their drafts are not saved.
    """

    to_stop: frozenset[UUID] = frozenset()
    deleted: frozenset[UUID] = frozenset()
    skipped: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class SentContext:
    """What went upstream because the model took no more: the numbers of messages and characters, and of messages left out."""

    messages: int
    characters: int
    left_out: int


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """A reply's end."""

    reply_id: UUID
    status: FinalStatus
    text: str
    error_code: str
    token_count: int
    prompt_tokens: int | None
    inference_time_ms: int
    first_token_ms: int | None
    finish_reason: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    # The model that answered, "" where nothing more is known than what was asked for.
    model_tag: str = ""
    # Set where less went upstream than was chosen when the reply was saved first.
    sent: SentContext | None = None
    # For staff: the service's own word for the end; of its error the status and the code; the trace of a reply that failed.
    upstream_finish: str = ""
    upstream_status: int | None = None
    upstream_code: str = ""
    trace_id: str = ""
    # As in `Draft`.
    continuation: int = 0
    reasoning_before_text: int | None = None
    # Whether the request's idempotency key is free again, because it changed nothing.
    releases_key: bool = False


class ReplyStore(Protocol):
    """Where replies are kept. Every method may raise `StoreUnavailable`; none keeps a connection when it returns."""

    def checkpoint(self, drafts: Sequence[Draft]) -> Directives:
        """Save the running replies of this process in one statement, except those whose rows are locked."""
        ...

    def finish(self, reply: FinishedReply) -> FinalStatus:
        """Save a reply's end and return the status that it got: `stopped` if a user asked for that first. Safe to repeat."""
        ...

    def interrupt(self, reply_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Mark those of these replies `interrupted` that exist and are running, and return them.

        Without ids, it only asks whether the store can be reached.
        """
        ...

    def count_uncounted(self) -> None:
        """Count the usage of replies whose end could not count it at once, because that would have meant to wait."""
        ...

    def has_abandoned(self) -> bool:
        """Whether a worker was found dead whose replies may not be marked yet. Asks no database."""
        ...

    def interrupt_abandoned(self) -> int:
        """Mark replies `interrupted` whose worker is dead; return how many."""
        ...

    def running_here(self) -> frozenset[UUID]:
        """Return the replies that run in this process, as the store knows it."""
        ...
