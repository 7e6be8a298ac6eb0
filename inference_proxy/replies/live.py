"""The replies that this process is generating, and the two threads that look after them all.

The *keeper* writes every transcript to the store once per checkpoint interval, in one statement however many there are; it
learns from the same statement which replies were stopped or deleted elsewhere; and it marks replies whose worker died. The
*warden* watches the worker: when that is told to end, it lets replies run on for the graceful time and then has the rest
saved. It is a thread of its own because the keeper waits for the store, and a store that is away must not keep the streams
from ending properly.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from django.conf import settings

from chatapi.incoming.admission import do_requests_wait
from inference_proxy.exceptions import StoreUnavailable
from inference_proxy.protocols.base import GenerationRequest
from inference_proxy.replies import metrics
from inference_proxy.replies.continuing import Former
from inference_proxy.replies.generation import Generation
from inference_proxy.replies.store import Draft, ReplyStore

logger = logging.getLogger(__name__)

# Kept free at the end of the graceful time: for saving what is still running, for the streams to say so, and for the server,
# which looks once a second whether its connections have ended.
SHUTDOWN_RESERVE_S = 5.0
SAVING_SHARE_S = 2.0
# A server that was told to quit is killed 2 s later: this long for saving, and then for the streams to say so.
HURRIED_SAVING_S = 1.0
HURRIED_STREAMS_S = 0.5
WARDEN_PAUSE_S = 0.25
# Every 5 s where replies count as abandoned after 30 s.
ABANDONED_CHECKS_PER_AGE = 6
MAX_PAUSE_S = 1.0
# How much of the graceful time must be left for a reply to begin.
LEAST_TIME_SHARE = 0.75
# A reply begins right after it is saved. One that has not begun within this time never will.
EXPECTED_S = 60.0
# PostgreSQL writes a text as a whole. Up to this length each checkpoint saves it; a longer one is saved less often, so that
# no reply writes more than this many characters per checkpoint interval on average.
CHECKPOINT_CHARACTERS = 32_768
# While requests wait: clients still get text four times a second.
CROWDED_PAUSE_S = 0.22


def pause(seconds: float) -> None:
    """Sleep, or go on at once if there is no memory for that: what must outlive such a moment calls this."""
    with suppress(MemoryError):
        time.sleep(seconds)


class LiveReplies:
    """Start, find and look after the generations of this process."""

    def __init__(self, store: ReplyStore) -> None:
        self._store = store
        self._running: dict[UUID, Generation] = {}
        self._lock = threading.Lock()
        # How much of a second one wake-up may take; 0 where they are not limited.
        self._wakeup_s = 1 / settings.WAKEUPS_PER_SECOND if settings.WAKEUPS_PER_SECOND else 0.0
        self._keeper: threading.Thread | None = None
        self._warden: threading.Thread | None = None
        self._is_alive: Callable[[], bool] = lambda: True
        self._graceful_timeout_s = 30.0
        self._close_idle_connections: Callable[[], None] = lambda: None
        self._interrupt_at: float | None = None
        self._saving_share_s = SAVING_SHARE_S
        self._checked_abandoned_at = 0.0
        # Replies that the store says run here, although nothing here makes them; as of the last look.
        self._unknown: frozenset[UUID] = frozenset()
        self._is_store_away = False
        # Replies whose rows may exist although they never began, and until when to look for each.
        self._never_begun: dict[UUID, float] = {}
        # Replies that are saved and begin soon, and when to expect them no longer. Each counts as running.
        self._expected: dict[UUID, float] = {}

    @property
    def is_shutting_down(self) -> bool:
        return self._interrupt_at is not None or not self._is_alive()

    @property
    def has_time_to_begin(self) -> bool:
        """Whether a reply that begins now may still run for most of the graceful time."""
        if self._interrupt_at is None:
            return True
        graceful_s = self._graceful_timeout_s - SHUTDOWN_RESERVE_S
        return self._interrupt_at - time.monotonic() > graceful_s * LEAST_TIME_SHARE

    @property
    def must_streams_end(self) -> bool:
        """Whether this process ends so soon that a stream of a reply that is made elsewhere can't go on here."""
        return self._interrupt_at is not None and time.monotonic() >= self._interrupt_at

    def start(
        self, reply_id: UUID, request: GenerationRequest, *, former: Former | None = None, is_background: bool = False
    ) -> Generation:
        """Start generating a reply whose row exists, or, with what it was, continue it."""
        try:
            generation = Generation(
                reply_id, request, self._store, former=former, is_background=is_background, pause_s=self._pause_s
            )
            self.keep()
        except BaseException:
            # There was no memory for what the reply had before, for example.
            self.note_never_begun(reply_id)
            raise
        with self._lock:
            self._running[reply_id] = generation
            self._expected.pop(reply_id, None)
            self._never_begun.pop(reply_id, None)
        try:
            generation.start()
        except BaseException:
            self._forget(generation)
            self.note_never_begun(reply_id)
            raise
        return generation

    def expect(self, reply_id: UUID) -> None:
        """Count a reply that is about to be saved and to begin as running."""
        with self._lock:
            self._expected[reply_id] = time.monotonic() + EXPECTED_S

    def expect_no_longer(self, reply_id: UUID) -> None:
        """Count it no longer: the reply was not saved."""
        with self._lock:
            self._expected.pop(reply_id, None)

    def note_never_begun(self, reply_id: UUID) -> None:
        """Have the keeper end a reply that nothing generates, because it is unknown whether its row was saved.

        The row may also appear a little later, so the keeper looks for it until it would count as abandoned.
        """
        with self._lock:
            self._expected.pop(reply_id, None)
            self._never_begun[reply_id] = time.monotonic() + settings.ABANDONED_AFTER_SECONDS
        self.keep()

    def _pause_s(self) -> float:
        """How long each reader may rest, so that all together wake this process up WAKEUPS_PER_SECOND times a second.

        While requests wait, all readers rest longer: replies slow down evenly, and new ones begin.
        """
        pause_s = len(self._running) * self._wakeup_s
        return max(pause_s, CROWDED_PAUSE_S) if self._wakeup_s and do_requests_wait() else pause_s

    def get(self, reply_id: UUID) -> Generation | None:
        """Return a reply that is running here."""
        generation = self._running.get(reply_id)
        return None if generation is None or generation.has_ended.is_set() else generation

    def running(self) -> list[Generation]:
        """Return the replies that are running here."""
        with self._lock:
            return list(self._running.values())

    def has_room(self, beginning: int = 0) -> bool:
        """Whether MAX_RUNNING_REPLIES allows another reply beside those that run here and `beginning` others."""
        most, beginning = settings.MAX_RUNNING_REPLIES, beginning + len(self._expected)
        if not most or len(self._running) + beginning < most:
            return True
        # Replies that have ended are forgotten only at the next checkpoint.
        return sum(not generation.has_ended.is_set() for generation in self.running()) + beginning < most

    def adopt_worker(
        self, is_alive: Callable[[], bool], graceful_timeout_s: float, close_idle_connections: Callable[[], None]
    ) -> None:
        """Watch the server's worker, so as to end before it does, and have it close connections that ended streams leave."""
        self._close_idle_connections = close_idle_connections
        self._is_alive = is_alive
        self._graceful_timeout_s = graceful_timeout_s
        self._warden = threading.Thread(target=self._watch_worker, name="worker-warden", daemon=True)
        self._warden.start()

    def keep(self) -> None:
        """Start the keeper where it isn't running yet."""
        keeper = self._keeper
        if keeper is not None and keeper.is_alive():
            return
        with self._lock:
            if self._keeper is keeper:
                self._keeper = threading.Thread(target=self._keep, name="reply-keeper", daemon=True)
                self._keeper.start()

    def wait_until_ended(self) -> None:
        """Wait for the replies of a worker that was told to end; returns at once where it was not."""
        while self.is_shutting_down and any(not generation.has_ended.is_set() for generation in self.running()):
            if self._interrupt_at is not None and time.monotonic() > self._save_until():
                return
            time.sleep(WARDEN_PAUSE_S)

    def end_now(self) -> None:
        """Interrupt and save the replies without a graceful time, and let the streams say so."""
        self._saving_share_s = HURRIED_SAVING_S
        self._interrupt_at = min(time.monotonic(), self._interrupt_at or math.inf)
        for generation in self.running():
            generation.interrupt(self._save_until())
        self.wait_until_ended()
        for generation in self.running():
            generation.give_up_saving()
        time.sleep(HURRIED_STREAMS_S)

    def _forget(self, generation: Generation) -> None:
        with self._lock:
            # Another generation may already continue the reply.
            if self._running.get(generation.reply_id) is generation:
                del self._running[generation.reply_id]

    def _keep(self) -> None:
        next_checkpoint = time.monotonic()
        while True:
            try:
                if time.monotonic() >= next_checkpoint:
                    next_checkpoint = time.monotonic() + settings.CHECKPOINT_SECONDS
                    self._tick()
            except Exception:
                # The keeper must outlive whatever goes wrong in one round, also if there is no memory to say so.
                with suppress(Exception):
                    metrics.checkpoint_failures.inc()
                    logger.exception("checkpoint round failed unexpectedly")
            pause(min(settings.CHECKPOINT_SECONDS, MAX_PAUSE_S))

    def _tick(self) -> None:
        try:
            now = time.monotonic()
            self._checkpoint(now)
            self._save_for_gone_threads()
            self._store.count_uncounted()
            if self._never_begun or self._is_store_away:
                # If no replies run, this is what finds out that the store is back.
                self._end_never_begun(now)
            is_due = now - self._checked_abandoned_at >= settings.ABANDONED_AFTER_SECONDS / ABANDONED_CHECKS_PER_AGE
            if is_due or self._store.has_abandoned():
                self._mark_abandoned()
            if is_due:
                self._checked_abandoned_at = now
                self._end_unknown(now)
        except StoreUnavailable:
            metrics.checkpoint_failures.inc()
            if not self._is_store_away:
                logger.error("checkpoints paused: database unavailable", extra={"error": "database_unavailable"})
            self._is_store_away = True
        else:
            if self._is_store_away:
                logger.info("checkpoints resumed")
            self._is_store_away = False

    def _mark_abandoned(self) -> None:
        if count := self._store.interrupt_abandoned():
            metrics.replies_abandoned.inc(count)
            logger.warning("replies of a dead worker marked as interrupted", extra={"count": count})

    def _save_for_gone_threads(self) -> None:
        """Save the ends that threads could not save. This worker's lease covers their replies, so no other worker will."""
        for generation in self.running():
            if not generation.is_thread_gone:
                continue
            try:
                if not generation.is_saved:
                    generation.save_for_gone_thread()
                self._forget(generation)
            except MemoryError:
                logger.warning("no memory to save the end of a reply")

    def _end_unknown(self, now: float) -> None:
        """End the replies that the store says run here, although at two looks nothing here makes them."""
        with self._lock:
            for reply_id in [each for each, until in self._expected.items() if until < now]:
                del self._expected[reply_id]
        unknown = self._store.running_here().difference(self._running, self._expected)
        if lost := unknown & self._unknown:
            logger.error("replies that nothing generates are interrupted", extra={"count": len(lost)})
            self._store.interrupt(list(lost))
        self._unknown = unknown

    def _checkpoint(self, now: float) -> None:
        """Save every running reply. The texts are taken before the statement, their lengths noted only after it succeeded."""
        saved: list[tuple[Generation, Draft]] = []
        drafts: list[Draft] = []
        # An ended one among these may be continued before the statement has run.
        drafted: dict[UUID, Generation] = {}
        for generation in self.running():
            if generation.is_thread_gone:
                continue
            try:
                draft = generation.draft(with_text=now >= generation.save_text_at)
            except MemoryError:
                # One long text must not keep the others from being saved.
                logger.warning("no memory to save a reply at this checkpoint")
                continue
            drafts.append(draft)
            drafted[draft.reply_id] = generation
            if draft.text is not None or draft.reasoning is not None:
                saved.append((generation, draft))
        if not drafts:
            return
        with metrics.checkpoint_seconds.time():
            directives = self._store.checkpoint(drafts)
        metrics.note_checkpoint(len(drafts), [text for draft in drafts for text in (draft.text, draft.reasoning) if text])
        for generation, draft in saved:
            if draft.reply_id in directives.skipped:
                continue
            written = generation.note_saved(draft)
            if written > CHECKPOINT_CHARACTERS:
                generation.save_text_at = now + settings.CHECKPOINT_SECONDS * written / CHECKPOINT_CHARACTERS
        for reply_id in directives.to_stop | directives.deleted:
            if not drafted[reply_id].has_ended.is_set():
                drafted[reply_id].stop()

    def _end_never_begun(self, now: float) -> None:
        with self._lock:
            known = dict(self._never_begun)
        ended = self._store.interrupt(list(known))
        with self._lock:
            for reply_id in (each for each, until in known.items() if each in ended or until < now):
                del self._never_begun[reply_id]

    def _watch_worker(self) -> None:
        while self._is_alive():
            pause(WARDEN_PAUSE_S)
        if self._interrupt_at is None:
            self._interrupt_at = time.monotonic() + max(0.0, self._graceful_timeout_s - SHUTDOWN_RESERVE_S)
        self._close_idle_connections()
        logger.info("worker ends: no new replies", extra={"running": len(self.running())})
        # In steps: the worker may be told to hurry.
        while time.monotonic() < self._interrupt_at:
            time.sleep(WARDEN_PAUSE_S)
        # Again and again: a request that was let in before may begin its reply only now.
        while time.monotonic() < self._save_until():
            for generation in self.running():
                generation.interrupt(self._save_until())
            time.sleep(WARDEN_PAUSE_S)
        for generation in self.running():
            generation.give_up_saving()

    def _save_until(self) -> float:
        return (self._interrupt_at or 0.0) + SAVING_SHARE_S
