"""The account of one reply: what its events say of it (counts, names, why it ended), and how long it took."""

import logging
import time
from uuid import UUID

from chatapi.observability.logs import trace_id_var
from inference_proxy.exceptions import UpstreamFailure
from inference_proxy.protocols.base import Delta
from inference_proxy.protocols.event_values import name_of
from inference_proxy.replies import metrics
from inference_proxy.replies.asking import Asking
from inference_proxy.replies.store import FinalStatus, FinishedReply
from inference_proxy.replies.transcript import Transcript

logger = logging.getLogger(__name__)

# No vocabulary has longer tokens than runs of about this many spaces, and no model writes more tokens for one reply.
LONGEST_TOKEN_CHARACTERS = 128
MOST_TOKENS = 131_072


class Account:
    """Count while a reply is made, then say what to save and report at its end."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.finish_reason = ""
        self.has_called_tool = False
        self.prompt_tokens: int | None = None
        self._frames = 0
        self._completion_tokens: int | None = None
        # The name that the service gives the model that answers, and its own word for the end.
        self._model = ""
        self._finish_word = ""
        self._first_token_at: float | None = None
        # Another thread may have to save the end.
        self._trace_id = trace_id_var.get()

    @property
    def has_begun(self) -> bool:
        """Whether the model has said anything."""
        return self._first_token_at is not None

    def note(self, delta: Delta) -> bool:
        """Take down what one event says. Return whether it brought the model's first word."""
        is_first = False
        if delta.text or delta.reasoning:
            self._frames += 1
            if self._first_token_at is None:
                self._first_token_at = time.monotonic()
                is_first = True
        if delta.finish_reason:
            self.finish_reason = delta.finish_reason
        if delta.finish_word:
            self._finish_word = delta.finish_word
        if delta.model:
            self._model = delta.model
        if delta.calls_tool:
            self.has_called_tool = True
        if delta.completion_tokens is not None:
            self._completion_tokens = delta.completion_tokens
        if delta.prompt_tokens is not None:
            self.prompt_tokens = delta.prompt_tokens
        return is_first

    def time_ms(self) -> int:
        """Return how long the reply has taken until now."""
        return round((time.monotonic() - self.started_at) * 1000)

    def token_count(self, characters: int, max_tokens: int | None) -> int:
        """Return how many tokens the reply has, which has this many characters."""
        return plausible_count(self._completion_tokens, frames=self._frames, characters=characters, max_tokens=max_tokens)

    def result(
        self,
        reply_id: UUID,
        status: FinalStatus,
        failure: UpstreamFailure | None,
        transcript: Transcript,
        asking: Asking,
        *,
        token_count: int,
    ) -> FinishedReply:
        """Return what to save of a reply that ends like this."""
        first = self._first_token_at
        refusal = failure.refusal if failure else None
        return FinishedReply(
            reply_id=reply_id,
            status=status,
            text=transcript.text(),
            reasoning=transcript.reasoning(),
            reasoning_before_text=transcript.reasoning_before_text,
            tool_calls=tuple(transcript.calls),
            error_code=failure.code if failure else "",
            token_count=token_count,
            prompt_tokens=self.prompt_tokens,
            inference_time_ms=self.time_ms(),
            first_token_ms=None if first is None else round((first - self.started_at) * 1000),
            finish_reason=self.finish_reason,
            model_tag=name_of(self._model) or name_of(asking.model),
            sent=asking.sent,
            upstream_finish=self._finish_word,
            upstream_status=refusal.status if refusal else None,
            upstream_code=(refusal.error_code or refusal.error_type) if refusal else "",
            trace_id=self._trace_id if status in ("failed", "interrupted") else "",
        )

    def report(self, reply: FinishedReply, status: FinalStatus, failure: UpstreamFailure | None) -> None:
        """Write the end to the metrics and the log."""
        metrics.note_reply(
            status=status,
            error_code=failure.code if failure else "",
            is_services_fault=failure is not None and not failure.is_users_own,
            token_count=reply.token_count,
            prompt_token_count=reply.prompt_tokens,
            duration_s=reply.inference_time_ms / 1000,
            first_token_s=None if self._first_token_at is None else self._first_token_at - self.started_at,
        )
        logger.log(
            logging.INFO if failure is None or failure.is_users_own else logging.ERROR,
            "reply ended",
            extra={
                "message_id": str(reply.reply_id),
                "status": status,
                "token_count": reply.token_count,
                "inference_time_ms": reply.inference_time_ms,
                "first_token_ms": reply.first_token_ms,
                **({"error": failure.code} if failure else {}),
            },
        )


def plausible_count(counted: int | None, *, frames: int, characters: int, max_tokens: int | None) -> int:
    """Return how many tokens a reply has, by the service's count where the reply allows that: quotas are counted in them.

    Thoughts that the service keeps to itself count, so there may be more tokens than frames.
    """
    if not counted:
        return frames
    least = -(-characters // LONGEST_TOKEN_CHARACTERS)
    most = max(max_tokens or MOST_TOKENS, frames, least)
    return min(max(counted, least), most)
