"""What a schedule may violate: the invariants by their names, and one violation."""

from dataclasses import dataclass
from enum import StrEnum


class Invariant(StrEnum):
    SAVED = "`done` means saved"
    SHOWN = "what a client was shown is kept"
    OFFSETS = "a reader gets every character once"
    WHAT_THE_MODEL_SAID = "a reply is what the model said"
    ONE_QUESTION = "one key, one question"
    ONE_CALL = "the model is asked once for each reply"
    ONE_RUNNING = "one reply runs at a time"
    GROWS = "a saved text only grows"
    FINAL = "a final status stays"
    GUESS = "a reply is interrupted only with its worker"
    NO_TRACE = "a fault that can be made good leaves no trace"
    STOPPED = "a stop ends the reply and the model's work"
    COUNTS = "the answer that counts came to something"
    NO_CONNECTION = "a stream holds no connection"
    ENDS = "every reply ends"
    REST = "the service comes to rest"
    GOES_ON = "the conversation goes on"
    NOT_REFUSED = "replacing workers refuses no send"
    EXPECTED = "every answer is an expected one"


@dataclass(frozen=True)
class Violation:
    invariant: Invariant
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"
