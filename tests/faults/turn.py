"""A turn while it is played, and what became of it."""

import threading
from dataclasses import dataclass, field
from typing import Any

from tests.support.steps import Step

from .reading import Reader
from .schedules import Fault, TurnPlan


@dataclass(frozen=True)
class Cut:
    """A stop or a deletion, and its answer."""

    verb: str
    asked_at: float
    # Whether the reply was running, with seconds to go.
    was_running: bool
    # The message that a stop answers with.
    message: dict[str, Any] | None


@dataclass(eq=False)
class Turn:
    number: int
    conversation: str
    prompt: str
    plan: TurnPlan
    reader: Reader
    # The replies, oldest first, each with the worker that makes it. A retry may begin another one at another worker.
    workers: dict[str, int] = field(default_factory=dict)
    # Of these, the ones that were asked for by regenerating.
    regenerated_ids: set[str] = field(default_factory=set)
    opening: Step | None = None  # what the inference service does instead of answering
    more_readers: list[Reader] = field(default_factory=list)
    # Of the message that waits for the end of the reply.
    awaiting: Reader | None = None
    cuts: list[Cut] = field(default_factory=list)
    # Since a stop found no reply: it is for the sends that had arrived at a server by then.
    may_begin_stopped: bool = False
    is_deleted: bool = False
    # Since the client regenerates.
    is_regenerated: bool = False
    # Since a stop or a deletion is on its way: the model takes its time, so that it must be stopped.
    is_being_cut: bool = False
    words_sent: int = 0
    has_held_checkpoint: bool = False
    is_saved: threading.Event = field(default_factory=threading.Event)
    faults: list[Fault] = field(default_factory=list)

    @property
    def newest_worker(self) -> int | None:
        return next(reversed(self.workers.values()), None)

    @property
    def waiting_prompt(self) -> str:
        # Without the other prompt in it, by which the model and the workers know the turn.
        return f"{self.conversation} waits"

    @property
    def key(self) -> dict[str, str]:
        return {"Idempotency-Key": f"key-{self.number}"}

    @property
    def readers(self) -> list[Reader]:
        return [self.reader, *self.more_readers]
