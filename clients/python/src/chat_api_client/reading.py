"""How a reply is read across lost connections. Knows nothing of sockets, so both clients use it."""

import json

from chat_api_client.calls import Call
from chat_api_client.errors import ChatError, ConnectionLost, ReplyFailed
from chat_api_client.events import Done, Event, Failure, Reasoning, Restarted, Token, read_event

# In a row.
MOST_FAILURES = 8
LONGEST_WAIT_S = 30
LONGEST_PAUSE_S = 8.0
# Following can be repeated after these. A send can be, if the service says when.
PASSING_WHEN_FOLLOWING = (429, 500, 502, 503, 504)
PASSING_WHEN_SENDING = (502, 503, 504)


class Reading:
    """What is known of a reply, and which request to make next."""

    def __init__(self, call: Call, text: str = "", reasoning: str = "") -> None:
        self.call = call
        self.key = call.headers.get("Idempotency-Key")
        self.text = text
        self.reasoning = reasoning
        self.message_id = ""
        self.user_message_id = ""
        self.done: Done | None = None
        self.failure: Failure | None = None
        self._headers = dict(call.headers)
        self._failures = 0

    @property
    def headers(self) -> dict[str, str]:
        return self._headers

    def begin(self, headers: dict[str, str]) -> Restarted | None:
        """Take an answer's headers, with names in lower case. From now on, the reply is followed at its own address."""
        if place := headers.get("content-location"):
            self.call = Call("GET", f"{place}/stream")
        self.message_id = headers.get("x-message-id", self.message_id)
        self.user_message_id = headers.get("x-user-message-id", self.user_message_id)
        if "x-stream-restarted" not in headers:
            return None
        self.text = self.reasoning = ""
        return Restarted()

    def take(self, event_id: str, data: str) -> Event | None:
        """Take an event of the stream."""
        self._headers["Last-Event-ID"] = event_id or self._headers.get("Last-Event-ID", "0")
        self._failures = 0
        said = read_event(json.loads(data))
        if isinstance(said, Token):
            self.text += said.text
        elif isinstance(said, Reasoning):
            self.reasoning += said.text
        elif isinstance(said, Failure):
            self.failure = said
        elif isinstance(said, Done):
            self.done = said
        return said

    def pause_after(self, problem: Exception | None) -> float:
        """Return how many seconds to wait before the next request. Raises what can't be mended by another one."""
        self._failures += 1
        wait = 0
        if isinstance(problem, ChatError):
            wait = problem.retry_after or 0
            is_following = self.call.method == "GET"
            passing = PASSING_WHEN_FOLLOWING if is_following else PASSING_WHEN_SENDING if wait else ()
            if problem.status not in passing or wait > LONGEST_WAIT_S:
                raise problem
        if self._failures > MOST_FAILURES:
            raise problem if isinstance(problem, ChatError) else ConnectionLost(f"The connection broke: {problem}") from problem
        return max(wait, min(0.25 * 2.0**self._failures, LONGEST_PAUSE_S))

    def require_success(self) -> None:
        """Raise `ReplyFailed` if the reply failed or was interrupted."""
        if self.done is not None and self.done.status in ("failed", "interrupted"):
            code, detail = (self.failure.code, self.failure.detail) if self.failure else ("", "")
            raise ReplyFailed(self.done.status, code, detail)
