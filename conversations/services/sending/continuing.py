"""What a reply was before it is continued, and its row going back to `streaming`.

The last reply can be continued if it has text and is unfinished: it was stopped, was interrupted, failed, or reached the limit
of its length. The row stays the same, so the cursors of all who have read part of it stay valid.
"""

from dataclasses import replace
from typing import cast
from uuid import UUID

from django.conf import settings

from conversations.exceptions import MessageNotFound, NotContinuable
from conversations.models import Role, Status
from conversations.querysets import NO_HEARTBEAT, MessageQuerySet
from conversations.services.replies.leases import lease
from conversations.services.sending.context import Budget
from inference_proxy.protocols import PROTOCOLS
from inference_proxy.protocols.base import CONTINUE_INSTRUCTION
from inference_proxy.replies.continuing import Former
from inference_proxy.replies.frames import Cursor
from inference_proxy.replies.store import FinalStatus
from inference_proxy.replies.transcript import MAX_REPLY_CHARACTERS

UNFINISHED = (Status.STOPPED, Status.INTERRUPTED, Status.FAILED)
# The finish reason of a reply that used up its tokens.
LENGTH = "length"


def read_former(messages: MessageQuerySet, reply_id: UUID) -> Former:
    """Return what a reply is before it is continued. The caller holds the conversation's lock, and no reply runs.

    Raises `MessageNotFound`, `NotContinuable`.
    """
    reply = messages.filter(id=reply_id).first()
    if reply is None or reply.role == Role.SYSTEM:
        raise MessageNotFound
    is_unfinished = reply.status in UNFINISHED or (reply.status == Status.COMPLETE and reply.finish_reason == LENGTH)
    if reply.role != Role.ASSISTANT or not is_unfinished or reply.tool_calls or not reply.content.strip():
        raise NotContinuable
    if len(reply.content) + len(reply.reasoning) >= MAX_REPLY_CHARACTERS:
        raise NotContinuable("This reply is as long as a reply may be.")
    if messages.active_branch().newest_first().values_list("id", flat=True).first() != reply_id:
        raise NotContinuable("The conversation went on after this reply. Only its last message can be continued.")
    return Former(
        number=(reply.continuations or 0) + 1,
        text=reply.content,
        reasoning=reply.reasoning,
        reasoning_before_text=reply.reasoning_before_text,
        status=cast(FinalStatus, reply.status),
        error_code=reply.error_code or "",
        token_count=reply.token_count or 0,
        prompt_tokens=reply.prompt_tokens,
        inference_time_ms=reply.inference_time_ms or 0,
        first_token_ms=reply.first_token_ms,
        finish_reason=reply.finish_reason or "",
        upstream_finish=reply.upstream_finish or "",
        upstream_status=reply.upstream_status,
        upstream_code=reply.upstream_code or "",
        trace_id=reply.trace_id or "",
    )


def reopen_reply(
    messages: MessageQuerySet, reply_id: UUID, former: Former, *, asked_id: UUID, key: str, fingerprint: str
) -> None:
    """Set a reply back to `streaming`, by this worker. Its texts and numbers stay as they are."""
    keyed = {"idempotency_key": key, "request_fingerprint": fingerprint} if key else {}
    messages.filter(id=reply_id).update(
        status=Status.STREAMING,
        parent_id=asked_id,
        worker=lease.worker_id,
        heartbeat_at=NO_HEARTBEAT,
        continuations=former.number,
        continued_after=str(former.cursor),
        stop_requested=False,
        **dict.fromkeys(("is_followed", "followed_at", "error_code", "finish_reason", "trace_id")),
        **dict.fromkeys(("upstream_finish", "upstream_status", "upstream_code")),
        **keyed,
    )


def read_place(messages: MessageQuerySet, reply_id: UUID) -> Cursor:
    """Return the cursor after which a reply was last continued."""
    after = messages.filter(id=reply_id).values_list("continued_after", flat=True).first()
    return Cursor.parse(after) if after else Cursor()


def text_to_continue(text: str) -> str:
    """Return the text that the model goes on with: the end of it, where the protocol limits the length of messages."""
    longest = PROTOCOLS[settings.INFERENCE_PROTOCOL].max_message_characters
    return text if longest is None else text[-longest:]


def budget_beside(budget: Budget, text: str) -> Budget:
    """Return what a budget leaves to the history beside the text that the model goes on with, and the instruction."""
    characters = len(text) + len(CONTINUE_INSTRUCTION)
    return replace(budget, messages=max(0, budget.messages - 2), characters=max(0, budget.characters - characters))
