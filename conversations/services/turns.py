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
from functools import partial
from uuid import UUID

import orjson
import psycopg
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from conversations.exceptions import (
    ConversationNotFound,
    GenerationInProgress,
    IdempotencyMismatch,
    MessageNotFound,
    NothingToRegenerate,
    NotTheLastTurn,
    TooManyGenerations,
)
from conversations.keyset import SortKey, after_key
from conversations.models import DEFAULT_MODEL_TAG, Message, Role, Status, new_id
from conversations.querysets import MessageQuerySet
from conversations.services.context import Budget, Context, build_context, count_history, read_history
from conversations.services.titles import automatic_title, is_unnamed
from conversations.services.turn_statements import (
    Survey,
    count_history_of,
    insert_turn,
    lock_conversation,
    survey_conversation,
    touch_conversation,
)
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

    def new_title(self, content: str) -> str | None:
        """Return the automatic title that a question gives the conversation; None where it has a title."""
        return automatic_title(content) if is_unnamed(self.title, self.title_source) else None


def start_turn(
    *, conversation_id: UUID, user_id: UUID | None, content: str, sampling: Sampling, idempotency_key: str = ""
) -> Turn:
    """Save a user message and the empty reply to it.

    With an idempotency key that this conversation knows, saves nothing and returns the turn that it belongs to.
    Raises `ConversationNotFound`, `GenerationInProgress`, `TooManyGenerations`, `IdempotencyMismatch`.
    """
    fingerprint = _fingerprint(content, sampling) if idempotency_key else ""
    limited = _is_limited(user_id)
    with _one_running_reply(conversation_id), transaction.atomic():
        setting = _lock_conversation(conversation_id, user_id, sampling)
        budget = Budget.left_by(content, setting.system_prompt)
        survey = survey_conversation(conversation_id, user_id, budget, idempotency_key=idempotency_key, limited=limited)
        if survey.earlier_id is not None:
            return _earlier_turn(conversation_id, survey, fingerprint)
        if survey.running_id is not None:
            _refuse_second_reply(conversation_id)
        if limited and survey.running_of_user >= settings.USER_MAX_GENERATIONS:
            raise TooManyGenerations(retry_after_s=RETRY_AFTER_S)
        context = build_context(survey.history, budget, partial(count_history_of, conversation_id))
        message_id, reply_id = new_id(), new_id()
        insert_turn(
            conversation_id=conversation_id,
            message_id=message_id,
            reply_id=reply_id,
            content=content,
            title=setting.new_title(content),
            model_tag=setting.model_tag,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            receipt=context.receipt,
        )
    return _turn(setting, message_id, reply_id, context)


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
        context = _context_before(messages, asked, asked.content, setting)
        _adopt_answers(messages, asked)
        has_answer = messages.active_branch().filter(parent_id=asked.id, role=Role.ASSISTANT).exists()
        reply = _new_reply(setting, asked.id, context, is_active=not has_answer)
        Message.objects.bulk_create([reply])
        touch_conversation(conversation_id, setting.new_title(asked.content))
    return _turn(setting, asked.id, reply.id, context)


def edit_turn(*, conversation_id: UUID, user_id: UUID | None, message_id: UUID, content: str, sampling: Sampling) -> Turn:
    """Save a new version of the last user message and the empty reply to it; the old turn stays readable beside it.

    Raises `ConversationNotFound`, `MessageNotFound`, `NotTheLastTurn`, `GenerationInProgress`, `TooManyGenerations`.
    """
    with _one_running_reply(conversation_id), transaction.atomic():
        setting = _lock_conversation(conversation_id, user_id, sampling)
        _refuse_second_reply(conversation_id)
        _refuse_too_many(user_id)
        messages = Message.objects.in_conversation(conversation_id)
        replaced = require_last_turn(messages, message_id)
        context = _context_before(messages, replaced, content, setting)
        _adopt_answers(messages, replaced)
        messages.filter(Q(id=replaced.id) | Q(parent_id=replaced.id, role=Role.ASSISTANT)).update(is_active=False)
        version = Message(
            id=new_id(),
            conversation_id=conversation_id,
            role=Role.USER,
            content=content,
            # All versions of a turn name the first.
            parent_id=replaced.parent_id or replaced.id,
        )
        reply = _new_reply(setting, version.id, context, is_active=True)
        Message.objects.bulk_create([version, reply])
        touch_conversation(conversation_id, setting.new_title(content))
    return _turn(setting, version.id, reply.id, context)


def require_last_turn(messages: MessageQuerySet, message_id: UUID) -> Message:
    """Return the last user message. Raises `MessageNotFound`, or `NotTheLastTurn` where it is not the one named."""
    asked = messages.active_branch().filter(role=Role.USER).newest_first().only("id", "parent_id", "created_at").first()
    if asked is None or asked.id != message_id:
        raise NotTheLastTurn if messages.filter(id=message_id).exists() else MessageNotFound
    return asked


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
    row = lock_conversation(conversation_id, user_id, limited=_is_limited(user_id))
    if row is None:
        raise ConversationNotFound
    title, title_source, own_tag, system_prompt, assistant_tag, temperature, max_tokens, top_k, _ = row
    model_tag = own_tag or DEFAULT_MODEL_TAG
    if model_tag == DEFAULT_MODEL_TAG:
        model_tag = assistant_tag or model_tag
    return _Setting(
        id=conversation_id,
        title=title,
        title_source=title_source,
        model_tag=model_tag,
        system_prompt=system_prompt or settings.SYSTEM_PROMPT,
        sampling=Sampling(
            temperature=temperature if sampling.temperature is None else sampling.temperature,
            max_tokens=max_tokens if sampling.max_tokens is None else sampling.max_tokens,
            top_k=top_k if sampling.top_k is None else sampling.top_k,
        ),
    )


def _fingerprint(content: str, sampling: Sampling) -> str:
    return hashlib.sha256(orjson.dumps([content, asdict(sampling)])).hexdigest()


def _earlier_turn(conversation_id: UUID, survey: Survey, fingerprint: str) -> Turn:
    assert survey.earlier_id is not None
    if survey.earlier_fingerprint != fingerprint:
        raise IdempotencyMismatch
    replies = Message.objects.in_conversation(conversation_id).filter(parent_id=survey.earlier_id, role=Role.ASSISTANT)
    reply_id = replies.oldest_first().values_list("id", flat=True)[0]
    return Turn(conversation_id=conversation_id, user_message_id=survey.earlier_id, reply_id=reply_id, request=None)


def _refuse_second_reply(conversation_id: UUID) -> None:
    running = Message.objects.in_conversation(conversation_id).running()
    reply_id = running.values_list("id", flat=True).first()
    # A reply whose worker died must not block the conversation until some keeper comes by.
    if reply_id is not None and not running.abandoned().update(status=Status.INTERRUPTED):
        raise _in_progress(reply_id)


def _is_limited(user_id: UUID | None) -> bool:
    return user_id is not None and settings.USER_MAX_GENERATIONS > 0


def _refuse_too_many(user_id: UUID | None) -> None:
    # Under the lock on the user's sends, which `lock_conversation` took.
    if _is_limited(user_id):
        running = Message.objects.running().filter(conversation__user_id=user_id)
        if running.count() >= settings.USER_MAX_GENERATIONS:
            raise TooManyGenerations(retry_after_s=RETRY_AFTER_S)


def _last_user_message(messages: MessageQuerySet) -> Message:
    asked = messages.active_branch().filter(role=Role.USER).newest_first().only("id", "content", "created_at").first()
    if asked is None:
        raise NothingToRegenerate
    return asked


def _context_before(messages: MessageQuerySet, asked: Message, content: str, setting: _Setting) -> Context:
    """Return the context for a question that stands where `asked` does."""
    history = messages.filter(after_key(SortKey(asked.created_at, asked.id), "created_at", descending=True))
    budget = Budget.left_by(content, setting.system_prompt)
    return build_context(read_history(history, budget), budget, partial(count_history, history))


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
