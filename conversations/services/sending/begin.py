"""Begin a reply: send a message, regenerate an answer, or edit a question.

Each function is one short transaction, which ends before the inference service is called. It first locks the conversation's
row, so that sends to one conversation run one after the other. The lock does not prevent a second running reply; the unique
index uq_messages_running does. The lock is FOR NO KEY UPDATE, so inserts of messages, which take a share lock on the row's key,
don't wait for it.

All three have the same steps: refuse while this worker shuts down (`ShuttingDown`) or makes as many replies as it may
(`TooManyReplies`), follow the turn of an earlier request with the same key (see `retries`), refuse a user without tokens left
(see `quotas`), refuse while another reply runs, choose the context, save the reply, and update the conversation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import IntegrityError, transaction

from chatapi.database.failures import is_outcome_unknown
from conversations.exceptions import (
    ConversationNotFound,
    GenerationInProgress,
    MessageNotFound,
    NotAQuestion,
    NotContinuable,
    NothingToRegenerate,
    NotTheLastTurn,
    TooManyGenerations,
)
from conversations.keyset import SortKey, after_key
from conversations.models import Assistant, Message, Role, Status, new_id
from conversations.placeholders import WITHOUT_TEXT
from conversations.querysets import NO_HEARTBEAT, MessageQuerySet
from conversations.services.replies.leases import lease
from conversations.services.replies.stop_marks import is_marked
from conversations.services.replies.store import live_replies
from conversations.services.replies.versions import (
    apply_changes,
    end_at,
    first_version,
    last_question,
    leave_after,
    mark_versions,
    read_tree,
)
from conversations.services.sending.context import SEPARATOR, Budget, Context, build_context
from conversations.services.sending.continuing import budget_beside, read_former, read_place, reopen_reply, text_to_continue
from conversations.services.sending.model_tags import model_of_turn, with_model_list
from conversations.services.sending.places import Place, room_for_reply
from conversations.services.sending.retries import Earlier, find_earlier, fingerprint_of, read_earlier, require_same
from conversations.services.sending.statements import (
    Survey,
    insert_turn,
    lock_and_survey,
    lock_conversation,
    next_place,
    note_activity,
    survey_conversation,
    touch_conversation,
)
from conversations.services.sending.titles import automatic_title, is_unnamed
from conversations.services.sending.upstream_messages import History
from conversations.services.usage.quotas import refuse_over_quota
from inference_proxy.protocols.base import GenerationRequest, Sampling
from inference_proxy.replies.continuing import Former
from inference_proxy.replies.frames import START, Cursor

RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply to generate. If `request` is None, an earlier request has begun it.

    `is_another` tells that a retry began the reply, in place of a void one. A client may know a part of that other reply.
    """

    conversation_id: UUID
    user_message_id: UUID
    reply_id: UUID
    request: GenerationRequest | None
    is_another: bool = False
    # Of a reply that is continued: what it was, and after which cursor it goes on.
    former: Former | None = None
    after: Cursor = START


@dataclass(frozen=True, slots=True)
class Terms:
    """What one request asks for besides the question and the sampling.

    `instructions` follow the system prompt, in this turn only. Without `model_tag`, the conversation's model answers; without
    `assistant`, with the prompt and the defaults of the conversation's assistant. The question follows the reply with the id
    `after`, wherever that is. `fingerprint` is the request's own; it is saved even without an idempotency key. `options` are
    saved with the reply.
    """

    instructions: str = ""
    model_tag: str = ""
    after: UUID | None = None
    fingerprint: str = ""
    options: dict[str, Any] | None = None
    assistant: Assistant | None = None

    def choices(self) -> dict[str, str]:
        """Return what tells two requests apart. Older requests chose neither."""
        assistant_id = None if self.assistant is None else str(self.assistant.id)
        return {name: value for name, value in (("model_tag", self.model_tag), ("assistant_id", assistant_id)) if value}


NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class _Setting:
    """The settings for a conversation's replies."""

    id: UUID
    title: str | None
    title_source: str
    model_tag: str
    system_prompt: str
    sampling: Sampling
    terms: Terms = NO_TERMS
    # Whether this request is a retry that begins another reply than the first one with its key.
    restarts: bool = False

    def new_title(self, content: str) -> str | None:
        """Return the automatic title for a conversation with this question, or None if it has a title."""
        return automatic_title(content) if is_unnamed(self.title, self.title_source) else None

    def under(self, terms: Terms) -> "_Setting":
        """Return the settings for a turn with these terms. Raises `ModelListNeeded`."""
        if terms == self.terms:
            return self
        prompt = SEPARATOR.join(filter(None, (self.system_prompt, terms.instructions)))
        tag = model_of_turn(terms.model_tag, self.model_tag) if terms.model_tag else self.model_tag
        return replace(self, system_prompt=prompt, model_tag=tag, terms=terms)

    def summary_of(self, context: Context) -> dict[str, Any]:
        """Return the summary of a context that `Message.context` stores."""
        instructions = len(self.terms.instructions)
        more = {"instructions": instructions} if instructions else {}
        return {**context.summary, **more, **({"restarted": True} if self.restarts else {})}


@with_model_list
def start_turn(
    *,
    conversation_id: UUID,
    user_id: UUID | None,
    content: str,
    sampling: Sampling,
    idempotency_key: str = "",
    terms: Terms | None = None,
) -> Turn:
    """Save a user message and the empty reply to it.

    If the conversation already has this idempotency key, return the turn of that request and save nothing. But if that turn's
    reply failed or was interrupted without text, begin a new reply to the same message. After other turns, ask it once more
    at the end.
    Raises `ConversationNotFound`, `QuotaExceeded`, `GenerationInProgress`, `TooManyGenerations`, `IdempotencyMismatch`,
    `MessageNotFound`.
    """
    terms = terms or NO_TERMS
    fingerprint = terms.fingerprint or (
        fingerprint_of(content, sampling.choices() | terms.choices()) if idempotency_key else ""
    )
    with _one_running_reply(conversation_id) as place, transaction.atomic():
        setting, survey = _lock_and_survey(conversation_id, user_id, content, sampling, terms, idempotency_key)
        setting = setting.under(terms)
        earlier = None
        if survey.earlier_id is not None:
            require_same(survey.earlier_fingerprint, fingerprint)
            earlier = read_earlier(Message.objects.in_conversation(conversation_id), survey.earlier_id)
            # Don't ask a question again that another version has replaced.
            if not (earlier.is_void and survey.earlier_is_active):
                return _follow(conversation_id, earlier)
        refuse_over_quota(user_id)
        if survey.running_id is not None:
            raise GenerationInProgress(survey.running_id)
        if _is_limited(user_id) and survey.running_of_user >= settings.USER_MAX_GENERATIONS:
            raise TooManyGenerations(retry_after_s=RETRY_AFTER_S)
        if earlier is not None:
            setting = replace(setting, restarts=True)
            messages = Message.objects.in_conversation(conversation_id)
            asked = last_question(messages)
            if asked is not None and asked.id == earlier.asked_id:
                return _add_answer(place, setting, asked, content, _context_before(asked, content, setting))
            # Other turns came after it. The question stays where it was asked, and is asked once more at the end, with the key.
            messages.filter(idempotency_key=idempotency_key).update(idempotency_key=None)
        budget = Budget.left_by(content, setting.system_prompt)
        if terms.after is not None and end_at(Message.objects.in_conversation(conversation_id), terms.after):
            # Another history.
            survey = replace(
                survey, history=History(conversation_id).read(rows=budget.rows_to_read, characters=budget.characters_to_read)
            )
        context = build_context(History(conversation_id), budget, survey.history[: budget.rows_to_read])
        message_id, reply_id = new_id(), new_id()
        place.claim(reply_id)
        goes_on = insert_turn(
            conversation_id=conversation_id,
            message_id=message_id,
            reply_id=reply_id,
            content=content,
            title=setting.new_title(content),
            model_tag=setting.model_tag,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            context=setting.summary_of(context),
            options=terms.options,
        )
    return _turn(setting, message_id, reply_id, context, goes_on=goes_on)


@with_model_list
def regenerate_turn(
    *,
    conversation_id: UUID,
    user_id: UUID | None,
    sampling: Sampling,
    idempotency_key: str = "",
    message_id: UUID | None = None,
    terms: Terms = NO_TERMS,
) -> Turn:
    """Save an empty new answer to a question, beside its other answers. `message_id` is the question or one of them.

    Without `message_id`, the last question. A message that is not on the active branch is activated first.

    If the active answer has text, the new one becomes active only when it is complete, or stopped with text (see
    `replies.FINISH_SQL`).
    An idempotency key works as for `start_turn`. Raises `ConversationNotFound`, `MessageNotFound`, `QuotaExceeded`,
    `GenerationInProgress`, `TooManyGenerations`, `NothingToRegenerate`, `IdempotencyMismatch`.
    """
    which = None if message_id is None else str(message_id)
    fingerprint = fingerprint_of("regenerate", which, sampling.choices() | terms.choices()) if idempotency_key else ""
    with _one_running_reply(conversation_id) as place, transaction.atomic():
        setting, messages = _lock_conversation(conversation_id, user_id, sampling, terms)
        earlier = find_earlier(messages, idempotency_key, fingerprint)
        if earlier is not None and not earlier.is_void:
            return _follow(conversation_id, earlier)
        _refuse_while_busy(messages, user_id)
        if earlier is not None:
            setting = replace(setting, restarts=True)
            # The new answer takes the key.
            messages.filter(idempotency_key=idempotency_key).update(idempotency_key=None)
            message_id = earlier.asked_id
        asked = _question_of(messages, message_id)
        context = _context_before(asked, asked.content, setting)
        return _add_answer(place, setting, asked, asked.content, context, key=idempotency_key, fingerprint=fingerprint)


@with_model_list
def edit_turn(
    *,
    conversation_id: UUID,
    user_id: UUID | None,
    message_id: UUID,
    content: str,
    sampling: Sampling,
    idempotency_key: str = "",
    terms: Terms = NO_TERMS,
) -> Turn:
    """Save a new version of a user message and an empty reply to it. What followed the old version is as it was when the user
    comes back to it.

    If the inference service refuses, the old version becomes active again (see `store.GIVE_BACK_SQL`). An idempotency key works
    as for `start_turn`. Raises `ConversationNotFound`, `MessageNotFound`, `NotAQuestion`, `QuotaExceeded`,
    `GenerationInProgress`, `TooManyGenerations`, `IdempotencyMismatch`.
    """
    fingerprint = (
        fingerprint_of("edit", str(message_id), content, sampling.choices() | terms.choices()) if idempotency_key else ""
    )
    with _one_running_reply(conversation_id) as place, transaction.atomic():
        setting, messages = _lock_conversation(conversation_id, user_id, sampling, terms)
        earlier = find_earlier(messages, idempotency_key, fingerprint)
        if earlier is not None and not earlier.is_void:
            return _follow(conversation_id, earlier)
        _refuse_while_busy(messages, user_id)
        if earlier is not None:
            # If the inference service refused, the version that it left is active.
            version = _question_of(messages, earlier.asked_id)
            context = _context_before(version, content, setting)
            return _add_answer(place, replace(setting, restarts=True), version, content, context)
        asked = _question_of(messages, message_id)
        if asked.id != message_id:
            raise NotAQuestion
        version = _add_version(messages, asked, content, idempotency_key, fingerprint)
        context = _context_before(version, content, setting)
        return _add_answer(place, setting, version, content, context, sent=1)


@with_model_list
def continue_turn(
    *,
    conversation_id: UUID,
    user_id: UUID | None,
    reply_id: UUID,
    sampling: Sampling,
    idempotency_key: str = "",
    terms: Terms = NO_TERMS,
) -> Turn:
    """Set the last reply, which is unfinished and has text, back to `streaming`: the model goes on where it ended.

    If the continuation fails, the reply gets its former status back (see `inference_proxy.replies.continuing`). A repeated
    request with an idempotency key follows the continuation. Raises `ConversationNotFound`, `MessageNotFound`, `QuotaExceeded`,
    `GenerationInProgress`, `TooManyGenerations`, `NotContinuable`, `IdempotencyMismatch`.
    """
    fingerprint = fingerprint_of("continue", str(reply_id), sampling.choices() | terms.choices()) if idempotency_key else ""
    with _one_running_reply(conversation_id) as place, transaction.atomic():
        setting, messages = _lock_conversation(conversation_id, user_id, sampling, terms)
        earlier = find_earlier(messages, idempotency_key, fingerprint)
        if earlier is not None:
            return replace(_follow(conversation_id, earlier), after=read_place(messages, reply_id))
        _refuse_while_busy(messages, user_id)
        former = read_former(messages, reply_id)
        asked = last_question(messages)
        if asked is None:
            raise NotContinuable
        text = text_to_continue(former.text)
        history = History(conversation_id, before=SortKey(asked.created_at, asked.id))
        context = build_context(history, budget_beside(Budget.left_by(asked.content, setting.system_prompt), text))
        place.claim(reply_id)
        goes_on = not is_marked(conversation_id, idempotency_key)
        if goes_on:
            reopen_reply(messages, reply_id, former, asked_id=asked.id, key=idempotency_key, fingerprint=fingerprint)
            note_activity(conversation_id)
    turn = replace(_turn(setting, asked.id, reply_id, context, goes_on=goes_on), after=former.cursor)
    return turn if turn.request is None else replace(turn, former=former, request=replace(turn.request, continues=text))


@contextmanager
def _one_running_reply(conversation_id: UUID) -> Iterator[Place]:
    """Refuse while this worker ends. Raise `GenerationInProgress` for a violation of uq_messages_running.

    The block claims the place for the reply that it saves. If its connection is lost, the reply may be saved all the same.
    """
    claimed: list[UUID] = []
    try:
        with room_for_reply() as place:
            claimed = place.replies
            yield place
    except BaseException as failure:
        # A request may also be ended in the middle of its commit.
        may_be_saved = is_outcome_unknown(failure) or not isinstance(failure, Exception)
        for reply_id in claimed:
            (live_replies.note_never_begun if may_be_saved else live_replies.expect_no_longer)(reply_id)
        if isinstance(failure, IntegrityError):
            _refuse_second_reply(conversation_id, failure)
        raise


def _refuse_second_reply(conversation_id: UUID, violation: IntegrityError) -> None:
    cause = violation.__cause__
    if isinstance(cause, psycopg.errors.UniqueViolation) and cause.diag.constraint_name == "uq_messages_running":
        running = Message.objects.in_conversation(conversation_id).running().values_list("id", flat=True).first()
        raise GenerationInProgress(running) from None


def _lock_conversation(
    conversation_id: UUID, user_id: UUID | None, sampling: Sampling, terms: Terms
) -> tuple[_Setting, MessageQuerySet]:
    """Lock a conversation, end its reply if that is abandoned, and return its settings and messages."""
    row = lock_conversation(conversation_id, user_id, limited=_is_limited(user_id))
    setting, messages = (
        _setting_of(conversation_id, row, sampling, terms).under(terms),
        Message.objects.in_conversation(conversation_id),
    )
    _interrupt_abandoned(messages)
    return setting, messages


def _lock_and_survey(
    conversation_id: UUID, user_id: UUID | None, content: str, sampling: Sampling, terms: Terms, key: str
) -> tuple[_Setting, Survey]:
    limited = _is_limited(user_id)
    # The system prompt is not known yet. Without one, the most history fits.
    budget = Budget.left_by(content, "")
    row, survey = lock_and_survey(conversation_id, user_id, budget, idempotency_key=key, limited=limited)
    setting = _setting_of(conversation_id, row, sampling, terms)
    if survey.is_abandoned:
        # The text of that reply now belongs to the history, so read again.
        _interrupt_abandoned(Message.objects.in_conversation(conversation_id))
        survey = survey_conversation(conversation_id, user_id, budget, idempotency_key=key, limited=limited)
    return setting, survey


def _setting_of(conversation_id: UUID, row: tuple[Any, ...] | None, sampling: Sampling, terms: Terms) -> _Setting:
    if row is None:
        raise ConversationNotFound
    title, title_source, own_tag, system_prompt, assistant_tag, temperature, max_tokens, top_k, _ = row
    if (other := terms.assistant) is not None:
        system_prompt, assistant_tag = other.system_prompt, other.model_tag
        temperature, max_tokens, top_k = other.temperature, other.max_tokens, other.top_k
    return _Setting(
        id=conversation_id,
        title=title,
        title_source=title_source,
        model_tag=model_of_turn(own_tag, assistant_tag),
        system_prompt=system_prompt or (sampling.thinking_mode and settings.THINKING_PROMPT) or settings.SYSTEM_PROMPT,
        sampling=sampling.with_defaults(temperature=temperature, max_tokens=max_tokens, top_k=top_k),
    )


def _interrupt_abandoned(messages: MessageQuerySet) -> None:
    """Mark a reply whose worker died as interrupted, so that it does not block its conversation until a keeper does that."""
    messages.interrupt_abandoned(lease.dead_workers)


def _is_limited(user_id: UUID | None) -> bool:
    return user_id is not None and settings.USER_MAX_GENERATIONS > 0


def _refuse_while_busy(messages: MessageQuerySet, user_id: UUID | None) -> None:
    # First: a caller that gets `GenerationInProgress` may stop the running reply in order to send.
    refuse_over_quota(user_id)
    running_id = messages.running().values_list("id", flat=True).first()
    if running_id is not None:
        raise GenerationInProgress(running_id)
    # Under the lock on the user's sends, which `lock_conversation` took.
    if _is_limited(user_id):
        running = Message.objects.running().filter(conversation__user_id=user_id)
        if running.count() >= settings.USER_MAX_GENERATIONS:
            raise TooManyGenerations(retry_after_s=RETRY_AFTER_S)


def _follow(conversation_id: UUID, earlier: Earlier) -> Turn:
    if earlier.reply_id is None:
        raise NotTheLastTurn
    return Turn(
        conversation_id=conversation_id,
        user_message_id=earlier.asked_id,
        reply_id=earlier.reply_id,
        request=None,
        is_another=earlier.is_another,
    )


def _context_before(asked: Message, content: str, setting: _Setting) -> Context:
    """Return the context for `content` if it takes the place of the question `asked`."""
    history = History(setting.id, before=SortKey(asked.created_at, asked.id))
    return build_context(history, Budget.left_by(content, setting.system_prompt))


def _question_of(messages: MessageQuerySet, message_id: UUID | None) -> Message:
    """Return a question that is active now: that of a message, or the last one.

    Raises `MessageNotFound`, `NothingToRegenerate`.
    """
    last = last_question(messages)
    if last is not None and message_id in (None, last.id):
        _adopt_answers(messages, last)
        return last
    if message_id is None:
        raise NothingToRegenerate
    if not messages.filter(id=message_id).exclude(role=Role.SYSTEM).exists():
        raise MessageNotFound
    tree = read_tree(messages)
    question_id = tree[message_id].parent_id if tree[message_id].is_reply else message_id
    if question_id is None or question_id not in tree:
        raise NothingToRegenerate
    apply_changes(messages, tree.choose(tree[question_id]))
    return messages.only("id", "parent_id", "follows_id", "content", "created_at").get(id=question_id)


def _adopt_answers(messages: MessageQuerySet, asked: Message) -> None:
    """Set the parent of the predecessor's answers to the last question, which relied on their order only."""
    later = messages.filter(after_key(SortKey(asked.created_at, asked.id), "created_at", descending=False))
    later.filter(parent_id=None, role=Role.ASSISTANT).update(parent_id=asked.id)


def _add_version(messages: MessageQuerySet, asked: Message, content: str, key: str, fingerprint: str) -> Message:
    """Save a new version of an active question, in its place."""
    leave_after(messages, asked, including=True)
    mark_versions(messages, [asked.id, first_version(asked)])
    version = Message(
        id=new_id(),
        conversation_id=asked.conversation_id,
        role=Role.USER,
        content=content,
        created_at=next_place(asked.conversation_id),
        # The parent of every later version is the first version.
        parent_id=first_version(asked),
        follows_id=asked.follows_id,
        has_versions=True,
        idempotency_key=key or None,
        request_fingerprint=fingerprint or None,
    )
    Message.objects.bulk_create([version])
    return messages.only("id", "parent_id", "follows_id", "content", "created_at").get(id=version.id)


def _add_answer(
    place: Place,
    setting: _Setting,
    asked: Message,
    content: str,
    context: Context,
    *,
    key: str = "",
    fingerprint: str = "",
    sent: int = 0,
) -> Turn:
    """Save an empty new answer to an existing question. It is active at once unless the active answer has text.

    `sent` is the number of new messages from the user.
    """
    messages = Message.objects.in_conversation(setting.id)
    others = list(messages.filter(parent_id=asked.id).replies().values_list("id", flat=True))
    mark_versions(messages, others)
    has_answer = messages.filter(id__in=others).active_branch().exclude(WITHOUT_TEXT).exists()
    if others and not has_answer:
        leave_after(messages, asked)
    goes_on = not is_marked(setting.id, key)
    reply = Message(
        id=new_id(),
        conversation_id=setting.id,
        role=Role.ASSISTANT,
        content="",
        model_tag=setting.model_tag,
        status=Status.STREAMING if goes_on else Status.STOPPED,
        created_at=next_place(setting.id),
        parent_id=asked.id,
        has_versions=True if others else None,
        is_active=not has_answer,
        heartbeat_at=NO_HEARTBEAT,
        worker=lease.worker_id,
        context=setting.summary_of(context),
        idempotency_key=key or None,
        request_fingerprint=fingerprint or None,
        request_options=setting.terms.options,
    )
    place.claim(reply.id)
    Message.objects.bulk_create([reply])
    touch_conversation(setting.id, setting.new_title(content), sent=sent)
    return _turn(setting, asked.id, reply.id, context, goes_on=goes_on)


def _turn(setting: _Setting, asked_id: UUID, reply_id: UUID, context: Context, *, goes_on: bool) -> Turn:
    if not goes_on:
        live_replies.expect_no_longer(reply_id)
    request = GenerationRequest(
        messages=context.messages,
        system_prompt=context.system_prompt,
        model_tag=setting.model_tag,
        sampling=setting.sampling,
        rows=context.rows,
        newest=context.newest,
    )
    return Turn(
        conversation_id=setting.id,
        user_message_id=asked_id,
        reply_id=reply_id,
        request=request if goes_on else None,
        is_another=setting.restarts,
    )
