"""A client that wants its reply: it retries, reconnects and changes nodes until it has been told the end."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.client import Client, Stream

READ_LIMIT_S = 30.0
PAUSE_S = 0.1
# What a connection that breaks under its reader looks like; a frame cut in two is an AssertionError of the stream's.
BROKEN = (OSError, http.client.HTTPException, AssertionError, ValueError, AttributeError)
# Refusals after which the same request is worth another try.
PASSING = {"database_unavailable", "unavailable", "auth_unavailable", "generation_in_progress", "too_many_generations"}


class Reader:
    """Read one reply, however often the connection breaks, and note what was seen when."""

    def __init__(self, user: Client, ports: list[int], conversation: str, leaves_after: int = 0) -> None:
        self._users = [user.at(port) for port in ports]
        self._conversation = conversation
        self._leaves_after = leaves_after
        self._stream: Stream | None = None
        self._may_read = threading.Event()
        self._may_read.set()
        self.message_id: str | None = None
        self.text = ""
        self.seen: list[tuple[float, int]] = []  # when, and how long the text was then
        self.end: dict[str, Any] | None = None
        self.errors: list[str] = []
        self.refusal: str | None = None
        self.is_gone = False
        self.complaints: list[str] = []

    def read(self, begin: Callable[[Client], Stream], *, retries: bool = True) -> None:
        """Read to the end. `begin` asks for the reply; once it has a name, it is followed instead."""
        give_up_at = time.monotonic() + READ_LIMIT_S
        while self.end is None and not self.is_gone:
            if time.monotonic() > give_up_at:
                self.complaints.append(f"no end after {READ_LIMIT_S:.0f} s (message {self.message_id}, {len(self.text)} read)")
                return
            user = self._users[0]
            try:
                self._stream = stream = self._follow(user) if self.message_id else begin(user)
                if stream.status == 200:
                    self._take(stream)
                else:
                    self._note_refusal(stream.status, stream.json)
                stream.abort()
            except BROKEN:
                pass
            if not retries and self.message_id is None:
                return
            self._users.append(self._users.pop(0))
            if self.end is None:
                time.sleep(PAUSE_S)

    def disturb(self) -> None:
        """Break the connection under the reader."""
        if self._stream is not None:
            self._stream.break_off()

    def pause(self, seconds: float) -> None:
        """Stop reading for a while."""
        self._may_read.clear()
        threading.Timer(seconds, self._may_read.set).start()

    def _follow(self, user: Client) -> Stream:
        assert self.message_id is not None
        return user.follow(self._conversation, self.message_id, last_event_id=len(self.text))

    def _take(self, stream: Stream) -> None:
        if self.message_id not in (None, stream.message_id):
            self.complaints.append(f"one send has two replies: {self.message_id} and {stream.message_id}")
        self.message_id = stream.message_id
        while self._may_read.wait() and (frame := stream.read()) is not None:
            if frame.object is None:
                continue
            if "token" in frame.object:
                self.text += frame.object["token"]
                self.seen.append((time.monotonic(), len(self.text)))
                if frame.id != len(self.text):
                    self.complaints.append(f"offset {frame.id} after {len(self.text)} characters of {self.message_id}")
            if "error" in frame.object:
                self.errors.append(frame.object["error"])
            if frame.object.get("done"):
                self.end = frame.object
                self._check_saved()
                return
            if self._leaves_after and len(self.text) >= self._leaves_after:
                self._leaves_after = 0
                return

    def _check_saved(self) -> None:
        """Look at once, at another node where there is one: `done` means saved."""
        try:
            status = self._users[-1].message(self._conversation, str(self.message_id))["status"]
        except BROKEN:
            return  # deleted, or the next fault has struck
        if status == "streaming" and "not_saved" not in self.errors:
            self.complaints.append(f"a client was told the end of {self.message_id}, which is not saved")

    def _note_refusal(self, status: int, body: dict[str, Any]) -> None:
        self.refusal = code = body["code"]
        if status == 404:
            self.is_gone = True
        elif code.startswith("upstream_"):
            # It names the reply that failed: its stream tells the rest.
            self.message_id = body["message_id"]
        elif code not in PASSING:
            self.complaints.append(f"unexpected answer {status} {json.dumps(body)[:200]}")
