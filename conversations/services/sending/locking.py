"""The lock on a conversation under which a reply begins, and what refuses another reply.

The lock makes the sends to one conversation run one after the other. It does not prevent a second running reply; the unique
index uq_messages_running does. The lock is FOR NO KEY UPDATE, so inserts of messages, which take a share lock on the row's key,
don't wait for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import IntegrityError
from django.db.models.functions import Now

from chatapi.database.failures import is_outcome_unknown
from chatapi.permits.limit import Limit
from conversations.exceptions import ConversationNotFound, GenerationInProgress, TooManyGenerations
from conversations.models import Message
from conversations.querysets import MessageQuerySet
from conversations.reply_duration import longest_reply_s
from conversations.services.replies.ending import interrupt_abandoned_in
from conversations.services.replies.store import live_replies
from conversations.services.sending.context import SEPARATOR, Budget
from conversations.services.sending.model_tags import model_of_turn
from conversations.services.sending.permits import Beginning, room_for_reply
from conversations.services.sending.statements import Survey, lock_and_survey, lock_conversation, survey_conversation
from conversations.services.sending.turn import ReplySettings, Terms
from conversations.services.usage.quotas import refuse_over_quota
from inference_proxy.protocols.base import Sampling

RUNNING_OF_USER = Limit(
    what="running replies of a user",
    per="user",
    refusal=TooManyGenerations,
    retry_after_s=5,
    settings=("USER_MAX_GENERATIONS",),
)


@contextmanager
def one_running_reply(conversation_id: UUID) -> Iterator[Beginning]:
    """Refuse while this worker ends. Raise `GenerationInProgress` for a violation of uq_messages_running.

    The block claims the permit for the reply that it saves. If its connection is lost, the reply may be saved all the same.
    """
    claimed: list[UUID] = []
    try:
        with room_for_reply() as beginning:
            claimed = beginning.replies
            yield beginning
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


def lock_for_reply(
    conversation_id: UUID, user_id: UUID | None, sampling: Sampling, terms: Terms
) -> tuple[ReplySettings, MessageQuerySet]:
    """Lock a conversation, end its reply if that is abandoned, and return its settings and messages."""
    row = lock_conversation(conversation_id, user_id, limited=is_limited(user_id))
    chosen = _settings_of(conversation_id, row, sampling, terms).under(terms)
    interrupt_abandoned_in(conversation_id)
    return chosen, Message.objects.in_conversation(conversation_id)


def lock_and_survey_for_send(
    conversation_id: UUID, user_id: UUID | None, content: str, sampling: Sampling, terms: Terms, key: str
) -> tuple[ReplySettings, Survey]:
    limited = is_limited(user_id)
    # The system prompt is not known yet. Without one, the most history fits.
    budget = Budget.left_by(content, "")
    row, survey = lock_and_survey(conversation_id, user_id, budget, idempotency_key=key, limited=limited)
    chosen = _settings_of(conversation_id, row, sampling, terms)
    if survey.is_abandoned:
        # The text of that reply now belongs to the history, so read again.
        interrupt_abandoned_in(conversation_id)
        survey = survey_conversation(conversation_id, user_id, budget, idempotency_key=key, limited=limited)
    return chosen, survey


def _settings_of(conversation_id: UUID, row: tuple[Any, ...] | None, sampling: Sampling, terms: Terms) -> ReplySettings:
    if row is None:
        raise ConversationNotFound
    title, title_source, own_tag, system_prompt, assistant_tag, temperature, max_tokens, top_k, instructions, _ = row
    if (other := terms.assistant) is not None:
        system_prompt, assistant_tag = other.system_prompt, other.model_tag
        temperature, max_tokens, top_k = other.temperature, other.max_tokens, other.top_k
    prompt = system_prompt or (sampling.thinking_mode and settings.THINKING_PROMPT) or settings.SYSTEM_PROMPT
    return ReplySettings(
        id=conversation_id,
        title=title,
        title_source=title_source,
        model_tag=model_of_turn(own_tag, assistant_tag),
        system_prompt=SEPARATOR.join(filter(None, (prompt, instructions))),
        own_instructions=len(instructions or ""),
        sampling=sampling.with_defaults(temperature=temperature, max_tokens=max_tokens, top_k=top_k),
    )


def is_limited(user_id: UUID | None) -> bool:
    return user_id is not None and settings.USER_MAX_GENERATIONS > 0


def refuse_while_busy(messages: MessageQuerySet, user_id: UUID | None) -> None:
    # First: a caller that gets `GenerationInProgress` may stop the running reply in order to send.
    refuse_over_quota(user_id)
    running_id = messages.running().values_list("id", flat=True).first()
    if running_id is not None:
        raise GenerationInProgress(running_id)
    # Under the lock on the user's sends, which `lock_conversation` took.
    if is_limited(user_id):
        begun = Now() - timedelta(seconds=longest_reply_s())
        running = Message.objects.running().filter(conversation__user_id=user_id, conversation__updated_at__gt=begun)
        if running.count() >= settings.USER_MAX_GENERATIONS:
            raise RUNNING_OF_USER.refuse()
