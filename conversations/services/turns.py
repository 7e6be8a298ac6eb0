"""The verbs that begin a reply: send a message, regenerate an answer.

Each is one short transaction that ends before the model is asked. The conversation's row is locked first, so that sends to
one conversation come one after the other; what keeps a second reply from running is not that lock but the unique index
uq_messages_running. The lock is FOR NO KEY UPDATE: inserting messages, which takes a share lock on the row's key, need not
wait for it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import orjson
import psycopg
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from conversations.exceptions import (
    ConversationNotFound,
    GenerationInProgress,
    IdempotencyMismatch,
    NothingToRegenerate,
    TooManyGenerations,
)
from conversations.keyset import SortKey, after_key
from conversations.models import (
    DEFAULT_MODEL_TAG,
    TEMPORARY_LIFETIME,
    Conversation,
    Message,
    Role,
    Status,
    TitleSource,
    new_id,
)
from conversations.querysets import MessageQuerySet
from conversations.services.context import Context, build_context
from conversations.services.titles import automatic_title, is_unnamed
from inference_proxy.protocols.base import GenerationRequest, Sampling

RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply that is to be generated, or, where `request` is None, one that an earlier send has begun."""

    conversation_id: UUID
    user_message_id: UUID
    reply_id: UUID
    request: GenerationRequest | None


@dataclass(frozen=True, slots=True)
class _Setting:
    """What of the conversation decides how its replies are made."""

    id: UUID
    title: str | None
    title_source: str
    model_tag: str
    system_prompt: str
    sampling: Sampling
    expires: bool


def start_turn(
    *, conversation_id: UUID, user_id: UUID | None, content: str, sampling: Sampling, idempotency_key: str = ""
) -> Turn:
    """Save a user message and the empty reply to it.

    With an idempotency key that this conversation knows, saves nothing and returns the turn that it belongs to.
    Raises `ConversationNotFound`, `GenerationInProgress`, `TooManyGenerations`, `IdempotencyMismatch`.
    """
    fingerprint = _fingerprint(content, sampling) if idempotency_key else ""
    with _one_running_reply(conversation_id), transaction.atomic():
        setting = _lock_conversation(conversation_id, user_id, sampling)
        if idempotency_key and (earlier := _find_earlier_send(conversation_id, idempotency_key, fingerprint)):
            return earlier
        _refuse_second_reply(conversation_id)
        _refuse_too_many(user_id)
        history = Message.objects.in_conversation(conversation_id)
        context = build_context(history, newest=content, system_prompt=setting.system_prompt)
        message = Message(
            id=new_id(),
            conversation_id=conversation_id,
            role=Role.USER,
            content=content,
            idempotency_key=idempotency_key or None,
            request_fingerprint=fingerprint or None,
        )
        reply = _new_reply(setting, message.id, context, is_active=True)
        Message.objects.bulk_create([message, reply])
        changes: dict[str, Any] = {"updated_at": Now()}
        if is_unnamed(setting.title, setting.title_source):
            changes |= {"title": automatic_title(content), "title_source": TitleSource.AUTO}
        if setting.expires:
            changes["expires_at"] = Now() + TEMPORARY_LIFETIME
        Conversation.objects.filter(id=conversation_id).update(**changes)
    return _turn(setting, message.id, reply.id, context)


def regenerate_turn(*, conversation_id: UUID, user_id: UUID | None, sampling: Sampling) -> Turn:
    """Save an empty new answer to the last user message, beside the answers that it has.

    Where there is one already, the new answer is not active: it becomes so when it is whole (see `replies.finish`).
    Raises `ConversationNotFound`, `GenerationInProgress`, `TooManyGenerations`, `NothingToRegenerate`.
    """
    with _one_running_reply(conversation_id), transaction.atomic():
        setting = _lock_conversation(conversation_id, user_id, sampling)
        _refuse_second_reply(conversation_id)
        _refuse_too_many(user_id)
        messages = Message.objects.in_conversation(conversation_id)
        asked = _last_user_message(messages)
        context = build_context(_before(messages, asked), newest=asked.content, system_prompt=setting.system_prompt)
        _adopt_answers(messages, asked)
        has_answer = messages.active_branch().filter(parent_id=asked.id, role=Role.ASSISTANT).exists()
        reply = _new_reply(setting, asked.id, context, is_active=not has_answer)
        Message.objects.bulk_create([reply])
        Conversation.objects.filter(id=conversation_id).update(updated_at=Now())
    return _turn(setting, asked.id, reply.id, context)


@contextmanager
def _one_running_reply(conversation_id: UUID) -> Iterator[None]:
    """Turn a violation of uq_messages_running into the refusal that it is."""
    try:
        yield
    except IntegrityError as violation:
        cause = violation.__cause__
        if isinstance(cause, psycopg.errors.UniqueViolation) and cause.diag.constraint_name == "uq_messages_running":
            running = Message.objects.in_conversation(conversation_id).running().values_list("id", flat=True).first()
            raise _in_progress(running) from None
        raise


def _in_progress(reply_id: UUID | None) -> GenerationInProgress:
    return GenerationInProgress(message_id=None if reply_id is None else str(reply_id))


def _lock_conversation(conversation_id: UUID, user_id: UUID | None, sampling: Sampling) -> _Setting:
    row = (
        Conversation.objects.owned_by(user_id)
        .filter(id=conversation_id)
        .select_for_update(no_key=True, of=("self",))
        .values(
            "title",
            "title_source",
            "model_tag",
            "expires_at",
            "assistant__system_prompt",
            "assistant__model_tag",
            "assistant__temperature",
            "assistant__max_tokens",
            "assistant__top_k",
        )
        .first()
    )
    if row is None:
        raise ConversationNotFound
    model_tag = row["model_tag"] or DEFAULT_MODEL_TAG
    if model_tag == DEFAULT_MODEL_TAG:
        model_tag = row["assistant__model_tag"] or model_tag
    return _Setting(
        id=conversation_id,
        title=row["title"],
        title_source=row["title_source"],
        model_tag=model_tag,
        system_prompt=row["assistant__system_prompt"] or settings.SYSTEM_PROMPT,
        expires=row["expires_at"] is not None,
        sampling=Sampling(
            temperature=row["assistant__temperature"] if sampling.temperature is None else sampling.temperature,
            max_tokens=row["assistant__max_tokens"] if sampling.max_tokens is None else sampling.max_tokens,
            top_k=row["assistant__top_k"] if sampling.top_k is None else sampling.top_k,
        ),
    )


def _fingerprint(content: str, sampling: Sampling) -> str:
    return hashlib.sha256(orjson.dumps([content, asdict(sampling)])).hexdigest()


def _find_earlier_send(conversation_id: UUID, key: str, fingerprint: str) -> Turn | None:
    messages = Message.objects.in_conversation(conversation_id)
    earlier = messages.filter(idempotency_key=key).values_list("id", "request_fingerprint").first()
    if earlier is None:
        return None
    message_id, known_fingerprint = earlier
    if known_fingerprint != fingerprint:
        raise IdempotencyMismatch
    reply_id = messages.filter(parent_id=message_id, role=Role.ASSISTANT).oldest_first().values_list("id", flat=True)[0]
    return Turn(conversation_id=conversation_id, user_message_id=message_id, reply_id=reply_id, request=None)


def _refuse_second_reply(conversation_id: UUID) -> None:
    running = Message.objects.in_conversation(conversation_id).running()
    reply_id = running.values_list("id", flat=True).first()
    # A reply whose worker died must not block the conversation until some keeper comes by.
    if reply_id is not None and not running.abandoned().update(status=Status.INTERRUPTED):
        raise _in_progress(reply_id)


def _refuse_too_many(user_id: UUID | None) -> None:
    if user_id is None or not settings.USER_MAX_GENERATIONS:
        return
    with connection.cursor() as cursor:
        # Sends of one user come one after the other from here on, or two would both see the last free place.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"generations:{user_id}"])
    running = Message.objects.running().filter(conversation__user_id=user_id)
    if running.count() >= settings.USER_MAX_GENERATIONS:
        raise TooManyGenerations(retry_after_s=RETRY_AFTER_S)


def _last_user_message(messages: MessageQuerySet) -> Message:
    asked = messages.active_branch().filter(role=Role.USER).newest_first().only("id", "content", "created_at").first()
    if asked is None:
        raise NothingToRegenerate
    return asked


def _before(messages: MessageQuerySet, asked: Message) -> MessageQuerySet:
    return messages.filter(after_key(SortKey(asked.created_at, asked.id), "created_at", descending=True))


def _adopt_answers(messages: MessageQuerySet, asked: Message) -> None:
    """Name the question of answers that the predecessor wrote: it kept them by order alone."""
    later = messages.filter(after_key(SortKey(asked.created_at, asked.id), "created_at", descending=False))
    later.filter(parent_id=None, role=Role.ASSISTANT).update(parent_id=asked.id)


def _new_reply(setting: _Setting, asked_id: UUID, context: Context, *, is_active: bool) -> Message:
    return Message(
        id=new_id(),
        conversation_id=setting.id,
        role=Role.ASSISTANT,
        content="",
        model_tag=setting.model_tag,
        status=Status.STREAMING,
        parent_id=asked_id,
        is_active=is_active,
        heartbeat_at=Now(),
        context=context.receipt,
    )


def _turn(setting: _Setting, asked_id: UUID, reply_id: UUID, context: Context) -> Turn:
    request = GenerationRequest(
        messages=context.messages,
        system_prompt=setting.system_prompt,
        model_tag=setting.model_tag,
        sampling=setting.sampling,
    )
    return Turn(conversation_id=setting.id, user_message_id=asked_id, reply_id=reply_id, request=request)
