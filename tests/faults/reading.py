"""A client that wants its reply: it retries, reconnects and changes nodes until it has been told the end."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.client import Client, Stream

from .violation import Invariant, Violation

# On a busy machine, a node that replaces its workers may accept nothing for 20 s, twice.
READ_LIMIT_S = 60.0
PAUSE_S = 0.1
LEAVES = 3
# What a connection that breaks under its reader looks like; a frame cut in two is an AssertionError of the stream's.
BROKEN = (OSError, http.client.HTTPException, AssertionError, ValueError, AttributeError)
# Refusals after which the same request is worth another try.
PASSING = {"database_unavailable", "unavailable", "auth_unavailable", "generation_in_progress", "too_many_generations"}
# What `done` may say that is not a guess.
FINAL = ("complete", "stopped", "failed")


class Reader:
    """Read one reply, however often the connection breaks, and note what was seen when.

    A few times, it leaves after a number of characters, and comes back to the same node or to the next one.
    """

    def __init__(
        self,
        user: Client,
        ports: list[int],
        conversation: str,
        *,
        message_id: str | None = None,
        leaves_after: int = 0,
        comes_back: bool = False,
    ) -> None:
        self._users = [user.at(port) for port in ports]
        self._conversation = conversation
        self._leaves_after = leaves_after
        self._leaves = LEAVES if leaves_after else 0
        self._comes_back = comes_back
        self._stream: Stream | None = None
        self._may_read = threading.Event()
        self._may_read.set()
        self._give_up_at = 0.0
        self.message_id = message_id
        # Set when the message id is known, and at the end in every case.
        self.is_named = threading.Event()
        self.text = ""
        self.reasoning = ""
        self.seen: list[tuple[float, int]] = []  # when, and how long text and reasoning were then
        self.end: dict[str, Any] | None = None
        self.errors: list[str] = []
        self.refusal: str | None = None
        self.is_gone = False
        self.complaints: list[Violation] = []

    def read(self, begin: Callable[[Client], Stream], *, retries: bool = True) -> None:
        """Read to the end. `begin` asks for the reply; once it has a name, it is followed instead."""
        try:
            self._read(begin, retries)
        finally:
            self.is_named.set()

    def _read(self, begin: Callable[[Client], Stream], retries: bool) -> None:
        self._give_up_at = time.monotonic() + READ_LIMIT_S
        while self.end is None and not self.is_gone:
            if time.monotonic() > self._give_up_at:
                read = f"message {self.message_id}, {len(self.text)} characters read"
                self._complain(Invariant.ENDS, f"no end after {READ_LIMIT_S:.0f} s ({read}, last refusal {self.refusal})")
                return
            user = self._users[0]
            is_here = False
            try:
                self._stream = stream = self.follow(user) if self.message_id else begin(user)
                is_here = stream.status == 200
                if is_here:
                    self._take(stream)
                else:
                    self._note_refusal(stream.status, stream.json)
                stream.abort()
            except BROKEN:
                pass
            if not retries and self.message_id is None:
                return
            if not (is_here and self._comes_back):
                self._users.append(self._users.pop(0))
            if self.end is None:
                time.sleep(PAUSE_S)

    def follow(self, user: Client) -> Stream:
        """Ask for what is behind the text that was read."""
        assert self.message_id is not None
        return user.follow(self._conversation, self.message_id, last_event_id=self._cursor)

    @property
    def _cursor(self) -> str:
        return f"{len(self.text)}-{len(self.reasoning)}" if self.reasoning else str(len(self.text))

    def _marked_cursor(self, stream: Stream) -> str:
        """Return the id of the same place in a reply that a retry began."""
        return f"{len(self.text)}-{len(self.reasoning)}-{stream.message_id[-8:]}"

    def disturb(self) -> None:
        """Break the connection under the reader."""
        if self._stream is not None:
            self._stream.break_off()

    def pause(self, seconds: float) -> None:
        """Stop reading for a while."""
        self._may_read.clear()
        threading.Timer(seconds, self._may_read.set).start()

    def _complain(self, invariant: Invariant, detail: str) -> None:
        self.complaints.append(Violation(invariant, detail))

    def _name(self, message_id: str) -> None:
        self.message_id = message_id
        self.is_named.set()

    def _take(self, stream: Stream) -> None:
        if self.message_id not in (None, stream.message_id):
            self._complain(Invariant.ONE_QUESTION, f"one send has two replies: {self.message_id} and {stream.message_id}")
        self._name(stream.message_id)
        while self._may_read.wait() and (frame := stream.read()) is not None:
            # A stream has no longest time: the service sends comments while the reply is silent.
            if time.monotonic() > self._give_up_at:
                return
            if frame.object is None:
                continue
            if "token" in frame.object or "reasoning" in frame.object:
                self.text += frame.object.get("token", "")
                self.reasoning += frame.object.get("reasoning", "")
                self.seen.append((time.monotonic(), len(self.text) + len(self.reasoning)))
                if frame.event_id not in (self._cursor, self._marked_cursor(stream)):
                    self._complain(Invariant.OFFSETS, f"id {frame.event_id} at {self._cursor} of {self.message_id}")
            if "error" in frame.object:
                self.errors.append(frame.object["error"])
            if frame.object.get("done"):
                self.end = frame.object
                self._check_saved(str(self.end["status"]))
                return
            if self._leaves and len(self.text) >= self._leaves_after * (LEAVES + 1 - self._leaves):
                self._leaves -= 1
                return

    def _check_saved(self, told: str) -> None:
        """Look at once, at another node where there is one: `done` means saved."""
        try:
            message = self._users[-1].message(self._conversation, str(self.message_id))
        except BROKEN:
            return  # deleted, or the next fault has struck
        if "not_saved" in self.errors:
            return
        saved = (message["status"], message["content"], message["reasoning"])
        seen = (told, self.text, self.reasoning)
        if saved[0] == "streaming" or (told in FINAL and saved != seen):
            self._complain(Invariant.SAVED, f"a client was told {seen}, and at once read {saved}")

    def _note_refusal(self, status: int, body: dict[str, Any]) -> None:
        self.refusal = code = body["code"]
        if status == 404:
            self.is_gone = True
        elif code.startswith("upstream_"):
            # It names the reply that failed: its stream tells the rest.
            self._name(body["message_id"])
        elif code not in PASSING:
            self._complain(Invariant.EXPECTED, f"unexpected answer {status} {json.dumps(body)[:200]}")
