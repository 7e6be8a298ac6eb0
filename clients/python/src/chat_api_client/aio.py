"""The client for asyncio. Its methods are those of `ChatClient`, which describes them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Self, cast

import httpx
from httpx_sse import aconnect_sse

from chat_api_client import calls
from chat_api_client.calls import Call
from chat_api_client.client import TIMEOUT, bearer, refusal_of
from chat_api_client.errors import ChatError, ConnectionLost
from chat_api_client.events import Done, Event, Failure
from chat_api_client.reading import Reading
from chat_api_client.types import Conversation, Message, SearchHit


class AsyncReply:
    """A reply that is being written; see `Reply`."""

    def __init__(self, client: "AsyncChatClient", conversation_id: str, reading: Reading) -> None:
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
        return self._reading.message_id

    @property
    def done(self) -> Done | None:
        return self._reading.done

    @property
    def failure(self) -> Failure | None:
        return self._reading.failure

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def finish(self) -> Self:
        async for _ in self:
            pass
        self._reading.require_success()
        return self

    async def stop(self) -> None:
        await self._client.call(calls.stop(self._conversation_id, self._reading.key))

    async def close(self) -> None:
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self) -> AsyncGenerator[Event, None]:
        reading = self._reading
        while True:
            problem: Exception | None = None
            try:
                async for said in self._read_on(reading):
                    yield said
            except (httpx.TransportError, ChatError) as failed:
                problem = failed
            if reading.done is not None:
                return
            await asyncio.sleep(reading.pause_after(problem))

    async def _read_on(self, reading: Reading) -> AsyncIterator[Event]:
        call = reading.call
        async with aconnect_sse(self._client.http, call.method, call.path, json=call.json, headers=reading.headers) as source:
            if not source.response.is_success:
                await source.response.aread()
                raise refusal_of(source.response)
            if restarted := reading.begin(dict(source.response.headers)):
                yield restarted
            async for event in source.aiter_sse():
                said = reading.take(event.id, event.data)
                if said is not None:
                    yield said
                if reading.done is not None:
                    return


class AsyncChatClient:
    """A client of the service; see `ChatClient`."""

    def __init__(self, base_url: str, token: str | Callable[[], str], *, http: httpx.AsyncClient | None = None) -> None:
        self.http = http or httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT, auth=bearer(token))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.http.aclose()

    async def call(self, call: Call) -> Any:
        try:
            answer = await self.http.request(call.method, call.path, json=call.json, params=call.params, headers=call.headers)
        except httpx.TransportError as problem:
            raise ConnectionLost(str(problem)) from problem
        if not answer.is_success:
            raise refusal_of(answer)
        return answer.json() if answer.content else None

    def conversations(self, **filters: str | int | bool) -> AsyncIterator[Conversation]:
        return cast(AsyncIterator[Conversation], self._pages(calls.conversations(filters)))

    async def create_conversation(self, *, key: str | None = None, **fields: Any) -> Conversation:
        return cast(Conversation, await self.call(calls.create(fields, key)))

    async def conversation(self, conversation_id: str) -> Conversation:
        found = await self.call(Call("GET", calls.conversation(conversation_id), params={"limit": "1"}))
        return cast(Conversation, {name: value for name, value in found.items() if name not in ("messages", "next")})

    async def change_conversation(self, conversation_id: str, **fields: Any) -> Conversation:
        return cast(Conversation, await self.call(Call("PATCH", calls.conversation(conversation_id), fields)))

    async def delete_conversation(self, conversation_id: str) -> None:
        await self.call(Call("DELETE", calls.conversation(conversation_id)))

    async def restore_conversation(self, conversation_id: str) -> Conversation:
        return cast(Conversation, await self.call(Call("POST", f"{calls.conversation(conversation_id)}/restore")))

    async def fork(
        self, conversation_id: str, message_id: str | None = None, *, title: str | None = None, key: str | None = None
    ) -> Conversation:
        return cast(Conversation, await self.call(calls.fork(conversation_id, message_id, title, key)))

    def search(self, text: str) -> AsyncIterator[SearchHit]:
        return cast(AsyncIterator[SearchHit], self._pages(calls.search(text)))

    async def messages(self, conversation_id: str, *, all_versions: bool = False) -> list[Message]:
        pages = [page async for page in self._read_pages(calls.messages(conversation_id, all_versions))]
        return [cast(Message, message) for page in reversed(pages) for message in page]

    async def message(self, conversation_id: str, message_id: str) -> Message:
        return cast(Message, await self.call(Call("GET", calls.message(conversation_id, message_id))))

    async def activate(self, conversation_id: str, message_id: str) -> Message:
        return cast(Message, await self.call(Call("POST", f"{calls.message(conversation_id, message_id)}/activate")))

    async def rate(self, conversation_id: str, message_id: str, rating: int | None, comment: str | None = None) -> None:
        await self.call(calls.rate(conversation_id, message_id, rating, comment))

    def send(self, conversation_id: str, content: str, *, key: str | None = None, **options: Any) -> AsyncReply:
        return self._reply(conversation_id, calls.send(conversation_id, content, key, options))

    def edit(
        self, conversation_id: str, message_id: str, content: str, *, key: str | None = None, **options: Any
    ) -> AsyncReply:
        return self._reply(conversation_id, calls.edit(conversation_id, message_id, content, key, options))

    def regenerate(
        self, conversation_id: str, message_id: str | None = None, *, key: str | None = None, **options: Any
    ) -> AsyncReply:
        return self._reply(conversation_id, calls.regenerate(conversation_id, message_id, key, options))

    def go_on(self, reply: Message, *, key: str | None = None, **options: Any) -> AsyncReply:
        reading = Reading(calls.go_on(reply, key, options), reply["content"], reply["reasoning"])
        return AsyncReply(self, reply["conversation_id"], reading)

    def follow(self, conversation_id: str, message_id: str) -> AsyncReply:
        return self._reply(conversation_id, calls.follow(conversation_id, message_id))

    async def stop(self, conversation_id: str) -> Message:
        return cast(Message, await self.call(calls.stop(conversation_id)))

    def _reply(self, conversation_id: str, call: Call) -> AsyncReply:
        return AsyncReply(self, conversation_id, Reading(call))

    async def _pages(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        async for page in self._read_pages(call):
            for item in page:
                yield item

    async def _read_pages(self, call: Call) -> AsyncIterator[list[dict[str, Any]]]:
        cursor: str | None = ""
        while cursor is not None:
            page = await self.call(call.at(cursor))
            yield page["items"]
            cursor = page["next"]
