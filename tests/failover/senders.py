"""Clients that send one message after another, each with its key, and repeat what is refused until it is answered."""

import threading
import time
import uuid
from dataclasses import dataclass, field
from http.client import HTTPException

from tests.support.client import Client

PAUSE_S = 0.25
RETRY_PAUSE_S = 0.5
# Until a turn must have its whole reply. The longest wait is for a reply that was saved but never began.
TURN_LIMIT_S = 120.0


@dataclass
class Attempt:
    """One request of a turn. The outcome is a reply's status, an error's code, or `broken`."""

    content: str
    began_at: float
    ended_at: float
    outcome: str


@dataclass
class Told:
    """What a client was told: the last frame of a reply and the text before it."""

    message_id: str
    status: str
    text: str


@dataclass
class Sender:
    """A user who sends to one conversation until told to stop."""

    client: Client
    conversation: str
    name: str
    attempts: list[Attempt] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def send_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            content = f"{self.name} message {len(self.contents)}"
            self.contents.append(content)
            self._send_until_answered(content)
            stop.wait(PAUSE_S)

    def _send_until_answered(self, content: str) -> None:
        key, give_up_at = str(uuid.uuid4()), time.monotonic() + TURN_LIMIT_S
        while time.monotonic() < give_up_at:
            began_at = time.monotonic()
            outcome = self._attempt(content, key)
            self.attempts.append(Attempt(content, began_at, time.monotonic(), outcome))
            if outcome == "complete":
                return
            threading.Event().wait(RETRY_PAUSE_S)
        self.problems.append(f"{content!r} has no complete reply after {TURN_LIMIT_S:.0f} s")

    def _attempt(self, content: str, key: str) -> str:
        try:
            stream = self.client.send(self.conversation, content, headers={"Idempotency-Key": key})
            try:
                if stream.status != 200:
                    return str(stream.json["code"])
                end = stream.finish()
            finally:
                stream.close()
        except (OSError, HTTPException) as failure:
            self.problems.append(f"{content!r}: the connection broke: {failure!r}")
            return "broken"
        self.told.append(Told(end["message_id"], end["status"], stream.text))
        return str(end["status"])
