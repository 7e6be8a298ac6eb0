"""Begin a reply: send a message, regenerate an answer, edit a question, or continue a reply.

Each function is one short transaction, which ends before the inference service is called. It first locks the conversation's
row (see `locking`).

All four have the same steps: refuse while this worker shuts down (`ShuttingDown`) or makes as many replies as it may
(`TooManyReplies`), follow the turn of an earlier request with the same key (see `retries`), refuse a user without tokens left
(see `quotas`), refuse while another reply runs, choose the context, save the reply, and update the conversation.
"""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from django.conf import settings
from django.db import transaction

from conversations.exceptions import GenerationInProgress, MessagesWait, NotAQuestion, NotContinuable
from conversations.keyset import SortKey
from conversations.models import Message
from conversations.new_ids import new_id
from conversations.services.replies.stop_marks import is_marked
from conversations.services.replies.versions import end_at, last_question
from conversations.services.sending.context import Budget, build_context
from conversations.services.sending.continuing import budget_beside, read_former, read_place, reopen_reply, text_to_continue
from conversations.services.sending.earlier_tools import with_earlier_tools
from conversations.services.sending.locking import (
    RUNNING_OF_USER,
    is_limited,
    lock_and_survey_for_send,
    lock_for_reply,
    one_running_reply,
    refuse_while_busy,
)
from conversations.services.sending.model_tags import with_model_list
from conversations.services.sending.new_messages import add_answer, add_version, context_before, question_of
from conversations.services.sending.permits import Beginning, goes_ahead
from conversations.services.sending.queue import find_waiting
from conversations.services.sending.retries import find_earlier, fingerprint_of, read_earlier, require_same
from conversations.services.sending.statements import Survey, insert_turn, note_activity
from conversations.services.sending.turn import NO_TERMS, ReplySettings, Terms, Turn, new_turn, turn_of_earlier
from conversations.services.sending.upstream_messages import History
from conversations.services.usage.quotas import refuse_over_quota
from inference_proxy.protocols.base import Sampling
from inference_proxy.protocols.tool_calls import read_call_id


@with_model_list
def send_turn(
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
    `MessageNotFound`, `MessagesWait`.
    """
    terms = terms or NO_TERMS
    fingerprint = terms.fingerprint_of_send(content, sampling, idempotency_key)
    with one_running_reply(conversation_id) as beginning, transaction.atomic():
        chosen, survey = lock_and_survey_for_send(conversation_id, user_id, content, sampling, terms, idempotency_key)
        chosen = chosen.under(terms)
        earlier = None
        if survey.has_queue and (waiting := find_waiting(conversation_id, idempotency_key, fingerprint)):
            return waiting
        if survey.earlier_id is not None:
            require_same(survey.earlier_fingerprint, fingerprint)
            earlier = read_earlier(Message.objects.in_conversation(conversation_id), survey.earlier_id)
            # Don't ask a question again that another version has replaced.
            if not (earlier.is_void and survey.earlier_is_active):
                return turn_of_earlier(conversation_id, earlier)
        _refuse_send(survey, user_id, may_overtake=earlier is not None or terms.after is not None)
        if earlier is not None:
            chosen = replace(chosen, restarts=True)
            messages = Message.objects.in_conversation(conversation_id)
            asked = last_question(messages)
            if asked is not None and asked.id == earlier.asked_id:
                return add_answer(beginning, chosen, asked, content, context_before(asked, content, chosen))
            # Other turns came after it. The question stays where it was asked, and is asked once more at the end, with the key.
            messages.filter(idempotency_key=idempotency_key).update(idempotency_key=None)
        return _append_turn(beginning, chosen, survey, content, key=idempotency_key, fingerprint=fingerprint)


def _refuse_send(survey: Survey, user_id: UUID | None, *, may_overtake: bool) -> None:
    """Refuse a send that may not begin now. `may_overtake` says that it need not wait for messages that wait already."""
    refuse_over_quota(user_id)
    if survey.running_id is not None:
        raise GenerationInProgress(survey.running_id)
    if survey.has_queue and not may_overtake and not goes_ahead():
        raise MessagesWait
    if is_limited(user_id) and survey.running_of_user >= settings.USER_MAX_GENERATIONS:
        raise RUNNING_OF_USER.refuse()


def _append_turn(
    beginning: Beginning, chosen: ReplySettings, survey: Survey, content: str, *, key: str, fingerprint: str
) -> Turn:
    """Save a question behind the last message, or behind the one that it names, and the empty reply to it."""
    terms = chosen.terms
    budget = Budget.left_by(content, chosen.system_prompt, terms.call_id)
    if terms.after is not None and end_at(Message.objects.in_conversation(chosen.id), terms.after):
        # Another history.
        history = History(chosen.id).read(rows=budget.rows_to_read, characters=budget.characters_to_read)
        survey = replace(survey, history=history, end=None)
    context = build_context(History(chosen.id), budget, survey.history[: budget.rows_to_read])
    message_id, reply_id = new_id(), new_id()
    beginning.claim(reply_id)
    goes_on = insert_turn(
        conversation_id=chosen.id,
        message_id=message_id,
        reply_id=reply_id,
        content=content,
        title=chosen.new_title(content),
        model_tag=chosen.model_tag,
        idempotency_key=key,
        fingerprint=fingerprint,
        context=chosen.summary_of(context),
        options=terms.options,
        end=survey.end,
        call_id=terms.call_id,
        output_form=terms.output_form,
    )
    return new_turn(chosen, message_id, reply_id, context, goes_on=goes_on)


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
    `replies.ending`).
    An idempotency key works as for `send_turn`. Raises `ConversationNotFound`, `MessageNotFound`, `QuotaExceeded`,
    `GenerationInProgress`, `TooManyGenerations`, `NothingToRegenerate`, `IdempotencyMismatch`.
    """
    which = None if message_id is None else str(message_id)
    fingerprint = fingerprint_of("regenerate", which, sampling.choices() | terms.choices()) if idempotency_key else ""
    with one_running_reply(conversation_id) as beginning, transaction.atomic():
        chosen, messages = lock_for_reply(conversation_id, user_id, sampling, terms)
        earlier = find_earlier(messages, idempotency_key, fingerprint)
        if earlier is not None and not earlier.is_void:
            return turn_of_earlier(conversation_id, earlier)
        refuse_while_busy(messages, user_id)
        if earlier is not None:
            chosen = replace(chosen, restarts=True)
            # The new answer takes the key.
            messages.filter(idempotency_key=idempotency_key).update(idempotency_key=None)
            message_id = earlier.asked_id
        asked = question_of(messages, message_id)
        chosen = with_earlier_tools(chosen, messages.filter(parent_id=asked.id).replies())
        context = context_before(asked, asked.content, chosen)
        return add_answer(beginning, chosen, asked, asked.content, context, key=idempotency_key, fingerprint=fingerprint)


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
    check: Callable[[], None] | None = None,
) -> Turn:
    """Save a new version of a user message and an empty reply to it. What followed the old version is as it was when the user
    comes back to it.

    If the inference service refuses, the old version becomes active again (see `replies.ending`). An idempotency key works
    as for `send_turn`. `check` may refuse the edit, while the conversation is locked. Raises `ConversationNotFound`,
    `MessageNotFound`, `NotAQuestion`, `QuotaExceeded`, `GenerationInProgress`, `TooManyGenerations`, `IdempotencyMismatch`, and
    what `check` raises.
    """
    fingerprint = (
        fingerprint_of("edit", str(message_id), content, sampling.choices() | terms.choices()) if idempotency_key else ""
    )
    with one_running_reply(conversation_id) as beginning, transaction.atomic():
        chosen, messages = lock_for_reply(conversation_id, user_id, sampling, terms)
        earlier = find_earlier(messages, idempotency_key, fingerprint)
        if earlier is not None and not earlier.is_void:
            return turn_of_earlier(conversation_id, earlier)
        refuse_while_busy(messages, user_id)
        if earlier is not None:
            # If the inference service refused, the version that it left is active.
            version = question_of(messages, earlier.asked_id)
            context = context_before(version, content, chosen)
            return add_answer(beginning, replace(chosen, restarts=True), version, content, context)
        asked = question_of(messages, message_id)
        if asked.id != message_id or asked.tool_calls is not None:
            raise NotAQuestion
        if check is not None:
            check()
        chosen = with_earlier_tools(chosen, messages.filter(parent_id=asked.id).replies())
        version = add_version(messages, asked, content, idempotency_key, fingerprint)
        context = context_before(version, content, chosen)
        return add_answer(beginning, chosen, version, content, context, sent=1)


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
    with one_running_reply(conversation_id) as beginning, transaction.atomic():
        chosen, messages = lock_for_reply(conversation_id, user_id, sampling, terms)
        earlier = find_earlier(messages, idempotency_key, fingerprint)
        if earlier is not None:
            return replace(turn_of_earlier(conversation_id, earlier), after=read_place(messages, reply_id))
        refuse_while_busy(messages, user_id)
        former = read_former(messages, reply_id)
        chosen = with_earlier_tools(chosen, messages.filter(id=reply_id))
        asked = last_question(messages)
        if asked is None:
            raise NotContinuable
        text = text_to_continue(former.text)
        history = History(conversation_id, before=SortKey(asked.created_at, asked.id))
        budget = Budget.left_by(asked.content, chosen.system_prompt, read_call_id(asked.tool_calls))
        context = build_context(history, budget_beside(budget, text))
        beginning.claim(reply_id)
        goes_on = not is_marked(conversation_id, idempotency_key)
        if goes_on:
            reopen_reply(messages, reply_id, former, asked_id=asked.id, key=idempotency_key, fingerprint=fingerprint)
            note_activity(conversation_id)
    turn = replace(new_turn(chosen, asked.id, reply_id, context, goes_on=goes_on), after=former.cursor)
    return turn if turn.request is None else replace(turn, former=former, request=replace(turn.request, continues=text))
