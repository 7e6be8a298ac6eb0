"""The same service built with FastAPI, httpx, SQLAlchemy with asyncpg, sse-starlette and uvicorn, for comparison.

It does a send's work and no more: ask who is calling (and remember it), insert both messages, read the history, relay the
reply, save it at the end. A client that leaves loses its reply; there are no checkpoints, retries, stops or limits. It runs
with the packages of requirements-bench.txt and imports nothing of the project.
"""

import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import DateTime, ForeignKey, Index, func, select, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sse_starlette import EventSourceResponse

HISTORY = 50
REMEMBER_S = 300.0

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=10, max_overflow=0)
new_session = async_sessionmaker(engine, expire_on_commit=False)
# With httpx's usual limit of 100 connections it would carry no more than 100 streams.
client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))
users: dict[str, tuple[float, uuid.UUID]] = {}


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}


class Conversation(Base):
    __tablename__ = "conversations"
    __table_args__ = (Index("by_user", "user_id", "updated_at"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID]
    title: Mapped[str]
    model_tag: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now())


class Message(Base):
    __tablename__ = "messages"
    __table_args__ = (Index("by_conversation", "conversation_id", "created_at"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    role: Mapped[str]
    content: Mapped[str]
    token_count: Mapped[int | None]
    inference_time_ms: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Send(BaseModel):
    content: str = Field(min_length=1, max_length=8000)
    temperature: float = Field(0.8, ge=0, le=2)
    max_tokens: int = Field(512, ge=1, le=4096)
    top_k: int = Field(50, ge=0, le=200)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


app = FastAPI(lifespan=lifespan)


async def caller(authorization: Annotated[str, Header()]) -> uuid.UUID:
    token = authorization.removeprefix("Bearer ")
    remembered_until, user = users.get(token, (0.0, None))
    if user is None or remembered_until < time.monotonic():
        answer = await client.post(f"{os.environ['AUTH_SERVICE_URL']}/auth/validate", json={"token": token})
        if answer.status_code != 200:
            raise HTTPException(401)
        user = uuid.UUID(answer.json()["user"]["id"])
        users[token] = (time.monotonic() + REMEMBER_S, user)
    return user


@app.get("/api/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/api/conversations/{conversation_id}/messages")
async def send(conversation_id: uuid.UUID, body: Send, user: Annotated[uuid.UUID, Depends(caller)]) -> EventSourceResponse:
    async with new_session.begin() as session:
        conversation = await session.get(Conversation, conversation_id)
        if conversation is None or conversation.user_id != user:
            raise HTTPException(404)
        conversation.updated_at = now()
        newest_first = select(Message).where(Message.conversation_id == conversation_id).order_by(Message.created_at.desc())
        earlier = (await session.scalars(newest_first.limit(HISTORY))).all()
        question = Message(conversation_id=conversation_id, role="user", content=body.content)
        reply = Message(conversation_id=conversation_id, role="assistant", content="")
        session.add_all([question, reply])
    messages = [{"role": message.role, "content": message.content} for message in (*reversed(earlier), question)]
    call = {"messages": messages, **body.model_dump(exclude={"content"})}
    return EventSourceResponse(relay(reply.id, call))


async def relay(reply_id: uuid.UUID, call: dict[str, Any]) -> AsyncIterator[dict[str, str]]:
    started_at = time.monotonic()
    tokens: list[str] = []
    async with client.stream("POST", f"{os.environ['INFERENCE_SERVICE_URL']}/generate", json=call) as answer:
        async for line in answer.aiter_lines():
            if not line.startswith("data: "):
                continue
            data = line.removeprefix("data: ")
            event = json.loads(data)
            if event.get("done"):
                break
            tokens.append(event["token"])
            yield {"data": data}
    saved = {
        "content": "".join(tokens),
        "token_count": len(tokens),
        "inference_time_ms": round((time.monotonic() - started_at) * 1000),
    }
    async with new_session.begin() as session:
        await session.execute(update(Message).where(Message.id == reply_id).values(**saved))
    yield {"data": json.dumps({"done": True, "message_id": str(reply_id)})}
