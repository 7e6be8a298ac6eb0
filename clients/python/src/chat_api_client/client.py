"""The client that blocks."""

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Self, cast

import httpx
from httpx_sse import connect_sse

from chat_api_client import calls
from chat_api_client.calls import Call
from chat_api_client.errors import ChatError, ConnectionLost, error_of
from chat_api_client.events import Done, Event, Failure
from chat_api_client.reading import Reading
from chat_api_client.types import Conversation, Message, SearchHit

# The service sends a comment after 15 s of silence.
SILENCE_S = 45.0
TIMEOUT = httpx.Timeout(SILENCE_S, connect=10.0)


class Reply:
    """A reply that is being written. Iterate over it for its events, or `finish` it for its text.

    A connection that breaks is opened again behind what was read. To leave the loop does not stop the reply: `stop` does.
    """

    def __init__(self, client: "ChatClient", conversation_id: str, reading: Reading) -> None:
        self._client = client
        self._conversation_id = conversation_id
        self._reading = reading
        self._events = self._read()

    @property
    def text(self) -> str:
        return self._reading.text

    @property
    def reasoning(self) -> str:
        return self._reading.reasoning

    @property
    def message_id(self) -> str:
        """The reply's id. Empty before the service has answered."""
        return self._reading.message_id

    @property
    def done(self) -> Done | None:
        return self._reading.done

    @property
    def failure(self) -> Failure | None:
        return self._reading.failure

    def __iter__(self) -> Iterator[Event]:
        """Raises `ChatError` if the service refuses the request, `ConnectionLost` if it can't be reached for long."""
        return self._events

    def finish(self) -> Self:
        """Read to the end. Raises `ReplyFailed` if that is a bad one, and what iterating raises."""
        for _ in self:
            pass
        self._reading.require_success()
        return self

    def stop(self) -> None:
        """Stop the reply, from another thread too, even if its message is still on its way."""
        self._client.call(calls.stop(self._conversation_id, self._reading.key))

    def close(self) -> None:
        """Close the connection. The reply goes on without this reader."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Generator[Event, None, None]:
        reading = self._reading
        while True:
            problem: Exception | None = None
            try:
                yield from self._read_on(reading)
            except (httpx.TransportError, ChatError) as failed:
                problem = failed
            if reading.done is not None:
                return
            time.sleep(reading.pause_after(problem))

    def _read_on(self, reading: Reading) -> Iterator[Event]:
        call = reading.call
        with connect_sse(self._client.http, call.method, call.path, json=call.json, headers=reading.headers) as source:
            if not source.response.is_success:
                source.response.read()
                raise refusal_of(source.response)
            if restarted := reading.begin(dict(source.response.headers)):
                yield restarted
            for event in source.iter_sse():
                said = reading.take(event.id, event.data)
                if said is not None:
                    yield said
                if reading.done is not None:
                    return


class ChatClient:
    """A client of the service. `token` is the user's, or a function that returns the current one."""

    def __init__(self, base_url: str, token: str | Callable[[], str], *, http: httpx.Client | None = None) -> None:
        self.http = http or httpx.Client(base_url=base_url, timeout=TIMEOUT, auth=bearer(token))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def call(self, call: Call) -> Any:
        """Make a request and return the JSON of its answer. Raises `ChatError`, `ConnectionLost`."""
        try:
            answer = self.http.request(call.method, call.path, json=call.json, params=call.params, headers=call.headers)
        except httpx.TransportError as problem:
            raise ConnectionLost(str(problem)) from problem
        if not answer.is_success:
            raise refusal_of(answer)
        return answer.json() if answer.content else None

    # --- Conversations ---

    def conversations(self, **filters: str | int | bool) -> Iterator[Conversation]:
        """All conversations, newest activity first. `filters`: favorited, archived, deleted, tag, q."""
        return cast(Iterator[Conversation], self._pages(calls.conversations(filters)))

    def create_conversation(self, *, key: str | None = None, **fields: Any) -> Conversation:
        """`fields`: title, model_tag, assistant_id, temporary, tags. With a `key`, a repeat returns the same conversation."""
        return cast(Conversation, self.call(calls.create(fields, key)))

    def conversation(self, conversation_id: str) -> Conversation:
        found = self.call(Call("GET", calls.conversation(conversation_id), params={"limit": "1"}))
        return cast(Conversation, {name: value for name, value in found.items() if name not in ("messages", "next")})

    def change_conversation(self, conversation_id: str, **fields: Any) -> Conversation:
        """`fields`: title, model_tag, is_favorited, is_archived, tags."""
        return cast(Conversation, self.call(Call("PATCH", calls.conversation(conversation_id), fields)))

    def delete_conversation(self, conversation_id: str) -> None:
        self.call(Call("DELETE", calls.conversation(conversation_id)))

    def restore_conversation(self, conversation_id: str) -> Conversation:
        return cast(Conversation, self.call(Call("POST", f"{calls.conversation(conversation_id)}/restore")))

    def fork(
        self, conversation_id: str, message_id: str | None = None, *, title: str | None = None, key: str | None = None
    ) -> Conversation:
        """Copy the active branch, up to a message, into a new conversation."""
        return cast(Conversation, self.call(calls.fork(conversation_id, message_id, title, key)))

    def search(self, text: str) -> Iterator[SearchHit]:
        return cast(Iterator[SearchHit], self._pages(calls.search(text)))

    # --- Messages ---

    def messages(self, conversation_id: str, *, all_versions: bool = False) -> list[Message]:
        """All messages of the active branch, or of all branches, oldest first."""
        # Pages begin at the end of the conversation. Each is in the order of time.
        pages = list(self._read_pages(calls.messages(conversation_id, all_versions)))
        return [cast(Message, message) for page in reversed(pages) for message in page]

    def message(self, conversation_id: str, message_id: str) -> Message:
        return cast(Message, self.call(Call("GET", calls.message(conversation_id, message_id))))

    def activate(self, conversation_id: str, message_id: str) -> Message:
        """Make this version the one that counts, with what followed it."""
        return cast(Message, self.call(Call("POST", f"{calls.message(conversation_id, message_id)}/activate")))

    def rate(self, conversation_id: str, message_id: str, rating: int | None, comment: str | None = None) -> None:
        self.call(calls.rate(conversation_id, message_id, rating, comment))

    # --- Replies ---

    def send(self, conversation_id: str, content: str, *, key: str | None = None, **options: Any) -> Reply:
        """Send a message. Nothing is sent before the reply is read. `options`: temperature, max_tokens, when_busy, …

        Keep a `key` of your own with the message if the send may have to be repeated after this process has ended.
        """
        return self._reply(conversation_id, calls.send(conversation_id, content, key, options))

    def edit(self, conversation_id: str, message_id: str, content: str, *, key: str | None = None, **options: Any) -> Reply:
        return self._reply(conversation_id, calls.edit(conversation_id, message_id, content, key, options))

    def regenerate(
        self, conversation_id: str, message_id: str | None = None, *, key: str | None = None, **options: Any
    ) -> Reply:
        """Write another reply: to the last question, or in the place of this message."""
        return self._reply(conversation_id, calls.regenerate(conversation_id, message_id, key, options))

    def go_on(self, reply: Message, *, key: str | None = None, **options: Any) -> Reply:
        """Go on with the last reply, if it is unfinished. Its `text` begins with what it has."""
        reading = Reading(calls.go_on(reply, key, options), reply["content"], reply["reasoning"])
        return Reply(self, reply["conversation_id"], reading)

    def follow(self, conversation_id: str, message_id: str) -> Reply:
        """Read a reply from its start: a running one, such as `running_message_id`, or one that has ended."""
        return self._reply(conversation_id, calls.follow(conversation_id, message_id))

    def stop(self, conversation_id: str) -> Message:
        """Stop the running reply of a conversation, and return it as it is saved."""
        return cast(Message, self.call(calls.stop(conversation_id)))

    def _reply(self, conversation_id: str, call: Call) -> Reply:
        return Reply(self, conversation_id, Reading(call))

    def _pages(self, call: Call) -> Iterator[dict[str, Any]]:
        for page in self._read_pages(call):
            yield from page

    def _read_pages(self, call: Call) -> Iterator[list[dict[str, Any]]]:
        cursor: str | None = ""
        while cursor is not None:
            page = self.call(call.at(cursor))
            yield page["items"]
            cursor = page["next"]


def refusal_of(answer: httpx.Response) -> ChatError:
    """Return a refusal whose body was read as an exception."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    return error_of(answer.status_code, body, answer.headers.get("Retry-After"))


def bearer(token: str | Callable[[], str]) -> Callable[[httpx.Request], httpx.Request]:
    """Return what puts the token into a request, just before it is sent."""

    def authorize(request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token() if callable(token) else token}"
        return request

    return authorize
