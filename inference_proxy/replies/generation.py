"""One reply in the making: a thread that reads the inference service and waits for no client.

Principle: the reply belongs to the conversation, not to the request that asked for it. Whatever happens to clients, the
thread reads on, and whatever happens to the inference service, the text that came is saved. The order of the end is fixed:
save first, then tell the followers.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from uuid import UUID

from django.conf import settings

from chatapi.observability.tracing import traced
from inference_proxy.exceptions import (
    ContextTooLong,
    NoAnswer,
    NotSaved,
    StoreUnavailable,
    ToolCallUnsupported,
    UpstreamError,
    UpstreamFailure,
)
from inference_proxy.protocols.base import Delta, GenerationRequest, note_whole_reply
from inference_proxy.protocols.refusals.failures import failure_of_event
from inference_proxy.replies import metrics
from inference_proxy.replies.account import Account
from inference_proxy.replies.asking import Asking
from inference_proxy.replies.continuing import Former, end_of_continuation
from inference_proxy.replies.frames import START, Cursor, closing_frames
from inference_proxy.replies.pacing import Pacer, rest_timer
from inference_proxy.replies.store import Draft, FinalStatus, FinishedReply, ReplyStore
from inference_proxy.replies.transcript import Transcript
from inference_proxy.upstream.call import UpstreamCall
from inference_proxy.upstream.sse import EventDecoder

logger = logging.getLogger(__name__)

SAVE_RETRY_SECONDS = 60.0
SAVE_RETRY_PAUSE_S = 0.5
# A thread that has not begun by then never will: there was no memory for it.
THREAD_START_S = 10.0


def no_pause() -> float:
    return 0.0


class Generation:
    """A running reply: its transcript, its upstream call, its end."""

    def __init__(
        self,
        reply_id: UUID,
        request: GenerationRequest,
        store: ReplyStore,
        *,
        former: Former | None = None,
        is_background: bool = False,
        pause_s: Callable[[], float] = no_pause,
    ) -> None:
        self.reply_id = reply_id
        self._former = former
        self._is_background = is_background
        self.transcript = Transcript()
        if former is not None:
            self.transcript.begin_with(former.text, former.reasoning, former.reasoning_before_text)
        # Set when the inference service has accepted, or it is certain that it won't.
        self.has_begun = threading.Event()
        self.has_ended = threading.Event()
        # Set where the inference service failed before it accepted.
        self.refusal: UpstreamFailure | None = None
        # How much of both channels a checkpoint has saved, and when the keeper saves more (monotonic).
        self._begin = START if former is None else former.cursor
        self._saved = self._begin
        self.save_text_at = 0.0
        self._store = store
        self._call = UpstreamCall(
            start_timeout_s=settings.INFERENCE_START_TIMEOUT,
            idle_timeout_s=settings.INFERENCE_IDLE_TIMEOUT,
            total_timeout_s=settings.GENERATION_TIMEOUT,
        )
        self._asking = Asking(reply_id, request, self._call)
        self._protocol = self._asking.protocol
        self._thread: threading.Thread | None = None
        self._has_run = False
        # The end, once it is known, and whether the store has it.
        self._finished: FinishedReply | None = None
        # The same without what the reply had before it was continued.
        self._own: FinishedReply | None = None
        self.is_saved = False
        self._cut_status: FinalStatus | None = None
        self._save_until: float | None = None
        # Set when a rest is over, or cut short.
        self._rested = threading.Event()
        self._pacer = Pacer(pause_s)
        self._account = Account()

    @property
    def is_followed(self) -> bool:
        """Whether a client waits for this reply: it is connected, or it asked for the reply in the background."""
        return self._is_background or self.transcript.is_followed

    def start(self) -> None:
        """Run in a thread of its own, which inherits the trace id and the user for its log lines."""
        context = copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=f"reply-{self.reply_id}", daemon=True)
        self._thread.start()

    @property
    def is_thread_gone(self) -> bool:
        """Whether no thread will end this reply any more, because it has ended or its thread is gone. False before `start`."""
        if self.has_ended.is_set():
            return True
        if self._thread is None or self._thread.is_alive():
            return False
        return self._has_run or time.monotonic() - self._account.started_at > THREAD_START_S

    def save_for_gone_thread(self) -> None:
        """Save the end that this reply's own thread could not save. Raises `StoreUnavailable`."""
        reply = self._finished or self._whole(self._result("interrupted", None))
        try:
            self._store.finish(reply)
        except StoreUnavailable:
            raise
        except Exception:
            logger.exception("a reply can't be saved whole", extra={"message_id": str(self.reply_id)})
            self._store.interrupt([self.reply_id])
        self.is_saved = True
        self._tell("interrupted", NotSaved(), reply)
        self._conclude()

    def stop(self) -> None:
        """End the reply because its user asked to; what came is kept."""
        self._cut("stopped")

    def interrupt(self, save_until: float) -> None:
        """End the reply because this process ends; give up saving at `save_until` (monotonic)."""
        self._save_until = save_until
        self._cut("interrupted")

    def draft(self, *, with_text: bool) -> Draft:
        """Return what a checkpoint saves of this reply: each channel that has grown, if `with_text`."""
        transcript, saved = self.transcript, self._saved
        # Text first: what the row has of the reasoning is then never older than its text.
        text = transcript.text() if with_text and transcript.length > saved.text else None
        reasoning = transcript.reasoning() if with_text and transcript.reasoning_length > saved.reasoning else None
        number = 0 if self._former is None else self._former.number
        return Draft(self.reply_id, text, self.is_followed, reasoning, number, transcript.reasoning_before_text)

    def note_saved(self, draft: Draft) -> int:
        """Remember that a checkpoint has saved this draft. Return how many characters it wrote."""
        written = Cursor(len(draft.text or ""), len(draft.reasoning or ""))
        self._saved = self._saved.joined(written)
        return sum(written)

    def give_up_saving(self) -> None:
        """Tell the followers, where they still wait, that this process ends and the store is away."""
        if not self.has_ended.is_set():
            self._tell("interrupted", NotSaved())

    def _cut(self, status: FinalStatus) -> None:
        self._cut_status = self._cut_status or status
        self._rested.set()
        self._call.cut()

    @traced("generate reply")
    def _run(self) -> None:
        try:
            self._has_run = True
            status, failure = self._read_upstream()
            self._end(status, failure)
        except BaseException:  # noqa: BLE001  # whatever ends this thread ends the reply
            self._end_unexpectedly()
        finally:
            self._conclude()

    def _end_unexpectedly(self) -> None:
        """End the reply after a failure of this module or of the process: it may lack memory for anything.

        What fails here too is left to the keeper, which looks for threads that are gone.
        """
        with suppress(BaseException):
            # First: what the user does not get must stop costing.
            self._call.cut()
        with suppress(BaseException):
            logger.exception("generation failed unexpectedly", extra={"message_id": str(self.reply_id)})
        with suppress(BaseException):
            self._end("interrupted", None)
        with suppress(BaseException):
            # Where that was not possible, followers would wait forever for a thread that has ended.
            self._tell("interrupted", NotSaved())

    def _conclude(self) -> None:
        with suppress(BaseException):
            self.has_begun.set()
        with suppress(BaseException):
            self.has_ended.set()
        with suppress(BaseException):
            # Only now, because meanwhile the body has usually ended too, so that the connection can be used again.
            self._call.close()

    def _read_upstream(self) -> tuple[FinalStatus, UpstreamFailure | None]:
        failure: UpstreamFailure | None = None
        try:
            if self._cut_status is None:
                self._converse()
        except UpstreamFailure as problem:
            failure = problem
        except Exception:
            logger.exception("reading from the inference service failed unexpectedly", extra={"message_id": str(self.reply_id)})
            failure = UpstreamError()
        if failure is not None or self._cut_status is not None:
            # At once: what the user stopped must stop costing.
            self._call.close()
        # A model that used up its tokens while it was thinking has not answered.
        has_answered = (
            failure is None and self._cut_status is None and self._account.finish_reason != "length" and self._former is None
        )
        self._append(self._protocol.flush(is_whole=has_answered and not self._account.has_called_tool))
        if has_answered:
            note_whole_reply(self._protocol.tags_of, text=self.transcript.text(), reasoning=self.transcript.reasoning())
        if self._cut_status is not None:
            return self._cut_status, None
        failure = failure or self._append_calls() or self._missing_answer()
        return ("complete", None) if failure is None else ("failed", failure)

    def _append_calls(self) -> UpstreamFailure | None:
        """Append the calls of a reply that is whole. Return the failure if no client could run them."""
        was_cut = self._account.finish_reason == "length"
        try:
            calls = self._protocol.tool_calls(self.reply_id, was_cut=was_cut)
        except UpstreamFailure as failure:
            return failure
        self.transcript.append_calls(calls)
        if calls and not was_cut:
            # Some services say `stop`.
            self._account.finish_reason = "tool_calls"
        return None

    def _missing_answer(self) -> UpstreamFailure | None:
        """Return the failure of a whole reply that has neither text nor calls."""
        if self.transcript.has_text or self.transcript.calls:
            return None
        return ToolCallUnsupported() if self._account.has_called_tool else NoAnswer()

    def _converse(self) -> None:
        """Ask and relay the answer; ask again if the stream begins with the news that the request is too long."""
        while True:
            self._open()
            try:
                self._relay()
            except ContextTooLong as failure:
                if self._account.has_begun:
                    # The model had begun: its own words have filled its context.
                    raise UpstreamError from failure
                if self._cut_status is not None or not self._asking.shorten(failure):
                    raise
                self._call.give_up_response()
            else:
                return

    def _open(self) -> None:
        try:
            with metrics.inference_seconds.time():
                self._asking.ask()
        except UpstreamFailure as failure:
            if self._cut_status is None:
                self.refusal = failure
            raise
        finally:
            self._protocol = self._asking.protocol
        self.has_begun.set()

    def _relay(self) -> None:
        decoder = EventDecoder()
        has_rested = False
        while chunk := self._read(has_rested):
            events = decoder.feed(chunk)
            if self._take(events):
                return
            has_rested = self._rest(len(events))
        try:
            events = decoder.finish()
            if decoder.is_document and len(events) == 1:
                events = self._protocol.events_of_document(events[0])
            is_whole = self._take(events)
        except UpstreamFailure:
            if not self._protocol.may_end_here():
                raise
            is_whole = False  # it broke off inside an event
        may_end_here = self._protocol.may_end_here(is_clean=self._call.has_ended_cleanly)
        if not (is_whole or may_end_here or self._cut_status):
            # It closed the connection without saying that the reply is whole.
            raise UpstreamError

    def _rest(self, events: int) -> bool:
        """Rest after a read, where the pace asks for it; return whether it did. A stop ends the rest."""
        rest_s = self._pacer.rest_after(events, time.monotonic(), has_begun=self._account.has_begun)
        if not rest_s:
            return False
        # Clear before looking, so that no stop is missed.
        self._rested.clear()
        if self._cut_status is None:
            rest_timer.wake_after(rest_s, self._rested)
            self._rested.wait()
        return True

    def _read(self, is_ready: bool) -> bytes:
        """Return the next bytes of the answer, b"" at its end."""
        try:
            return self._call.read(is_ready=is_ready)
        except UpstreamFailure:
            # A service that has said why the reply ended may then break the connection: the reply is whole.
            if self._protocol.may_end_here():
                return b""
            raise

    def _take(self, events: list[bytes]) -> bool:
        """Append events to the transcript; return whether the reply is whole."""
        try:
            for data in events:
                if not data:
                    # A keep-alive that is an event and not a comment.
                    continue
                try:
                    delta = self._protocol.read_event(data)
                except UpstreamError:
                    raise failure_of_event(data) from None
                self._append(delta)
                if delta.is_end:
                    if delta.has_failed:
                        raise UpstreamError
                    return True
        finally:
            self.transcript.wake()
        if self.transcript.is_full:
            logger.warning("reply stopped: it exceeds the size limit", extra={"message_id": str(self.reply_id)})
            raise UpstreamError
        return False

    def _append(self, delta: Delta) -> None:
        if delta.reasoning:
            self.transcript.append_reasoning(delta.reasoning)
        if delta.payload is not None:
            self.transcript.append(delta.payload, delta.text)
        if self._account.note(delta):
            self._asking.forget_messages()

    def _end(self, status: FinalStatus, failure: UpstreamFailure | None) -> None:
        own = self._own = self._own or self._result(status, failure)
        if self._finished is None:
            self._finished = self._whole(own)
            if self._account.has_begun:
                self._asking.note_end(self._account.prompt_tokens)
        reply = self._finished
        saved_status = self._save(reply) or reply.status
        if not self.is_saved:
            # The row still says `streaming`. The keeper saves the end once the store is back.
            saved_status, failure = "interrupted", NotSaved()
        elif saved_status != reply.status:
            # A stop from elsewhere was stored before the end.
            failure = None
        try:
            self._account.report(own, own.status if saved_status == reply.status else saved_status, failure)
        finally:
            self._tell(saved_status, failure, reply)

    def _whole(self, own: FinishedReply) -> FinishedReply:
        """Return the end of the whole reply: a continuation adds to what was there."""
        return own if self._former is None else end_of_continuation(own, self._former)

    def _result(self, status: FinalStatus, failure: UpstreamFailure | None) -> FinishedReply:
        return self._account.result(
            self.reply_id, status, failure, self.transcript, self._asking, token_count=self._token_count()
        )

    def _token_count(self) -> int:
        new_characters = self.transcript.length + self.transcript.reasoning_length - sum(self._begin)
        return self._account.token_count(new_characters, self._asking.max_tokens)

    def _save(self, reply: FinishedReply) -> FinalStatus | None:
        """Save the end and return the status that the store gave it, or None if the store stays away."""
        give_up_at = time.monotonic() + SAVE_RETRY_SECONDS
        while True:
            try:
                status = self._store.finish(reply)
            except StoreUnavailable:
                if time.monotonic() + SAVE_RETRY_PAUSE_S > min(give_up_at, self._save_until or give_up_at):
                    metrics.replies_not_saved.inc()
                    logger.error("reply not saved", extra={"message_id": str(reply.reply_id), "error": "not_saved"})
                    return None
                time.sleep(SAVE_RETRY_PAUSE_S)
            else:
                self.is_saved = True
                return status

    def _tell(self, status: FinalStatus, failure: UpstreamFailure | None, end: FinishedReply | None = None) -> None:
        frames = closing_frames(
            message_id=self.reply_id,
            status=status,
            failure=failure,
            token_count=self._token_count() if end is None else end.token_count,
            inference_time_ms=self._account.time_ms() if end is None else end.inference_time_ms,
            finish_reason=self._account.finish_reason if end is None else end.finish_reason,
        )
        self.transcript.close(frames)
