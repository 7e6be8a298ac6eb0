"""Deliberate defects: mistakes that this service could contain, one of which an instrumented server can be started with.

FAULTS_DEFECT=done-before-commit gunicorn tests.faults.instrumented

They measure the suite: `tests.faults.power` plays schedules against each until an invariant breaks. A defect is a list of
changes to the service, made when the server starts; the service's own code knows nothing of them. Where a change finds
nothing to change any more, it fails, and so does a test.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from psycopg.errors import LockNotAvailable

from .changes import Change, around, edited, set_to

Original = Callable[..., Any]
Changes = Iterator[Change]


@dataclass(frozen=True)
class Defect:
    name: str
    # What is wrong, in a few words.
    summary: str
    # Takes the module `product`, which only a process with Django's settings can import.
    make_changes: Callable[[Any], Changes]

    def changes(self) -> list[Change]:
        from . import product

        return list(self.make_changes(product))

    def switch_on(self) -> None:
        for change in self.changes():
            change.make()


DEFECTS: dict[str, Defect] = {}


def defect(make_changes: Callable[[Any], Changes]) -> Callable[[Any], Changes]:
    """Register a defect. Its function's name and docstring are its name and its summary."""
    name = make_changes.__name__.replace("_", "-")
    DEFECTS[name] = Defect(name, str(make_changes.__doc__).strip().removesuffix("."), make_changes)
    return make_changes


# Saving


@defect
def done_before_commit(service: Any) -> Changes:
    """Followers are told the end of a reply before it is saved."""

    def save(original: Original, generation: Any, reply: Any) -> Any:
        generation._tell(reply.status, None, reply)
        return original(generation, reply)

    yield around(service.Generation, "_save", save)


@defect
def lease_not_renewed(service: Any) -> Changes:
    """A worker writes its lease once and does not renew it."""
    yield edited(service.leases, "RENEW_SQL", "lease.renewals + 1", "lease.renewals")


@defect
def checkpoint_shortens(service: Any) -> Changes:
    """Every second checkpoint saves half of the text."""
    rounds = iter(range(10**9))

    def checkpoint(original: Original, store: Any, drafts: Any) -> Any:
        if next(rounds) % 2:
            drafts = [replace(draft, text=draft.text and draft.text[: len(draft.text) // 2]) for draft in drafts]
        return original(store, drafts)

    yield around(service.DatabaseReplyStore, "checkpoint", checkpoint)


@defect
def late_checkpoint_counts(service: Any) -> Changes:
    """A checkpoint that comes after the end of its reply puts the older text back."""
    sql = service.replies.CHECKPOINT_SQL
    yield set_to(service.replies, "CHECKPOINT_SQL", sql.replace(service.checkpoints.STILL_RUNS, "true"))


@defect
def save_not_retried(service: Any) -> Changes:
    """A reply that ends while the database is away is given up at once."""
    yield set_to(service.generation, "SAVE_RETRY_SECONDS", 0.0)


@defect
def text_before_failure_lost(service: Any) -> Changes:
    """When the inference service fails in mid-reply, the text that it had sent is not saved."""

    def finish(original: Original, store: Any, reply: Any) -> Any:
        return original(store, replace(reply, text="") if reply.status == "failed" else reply)

    yield around(service.DatabaseReplyStore, "finish", finish)


@defect
def unsaved_at_sigterm(service: Any) -> Changes:
    """A reply that is cut off by a shutdown is reported as saved and is not."""

    def save(original: Original, generation: Any, reply: Any) -> Any:
        return True if generation._save_until is not None else original(generation, reply)

    yield around(service.Generation, "_save", save)


# Workers that are gone


@defect
def abandoned_reply_never_marked(service: Any) -> Changes:
    """The replies of a worker that was killed stay `streaming`."""
    yield around(service.DatabaseReplyStore, "interrupt_abandoned", lambda original, store: 0)


@defect
def guess_overwrites_final_status(service: Any) -> Changes:
    """The mark for abandoned replies hits replies that have ended, too."""

    def interrupt_abandoned(original: Original, store: Any) -> int:
        oldest = Now() - timedelta(seconds=settings.ABANDONED_AFTER_SECONDS)
        try:
            old = service.Message.objects.replies().filter(created_at__lt=oldest)
            return int(old.exclude(status="interrupted").update(status="interrupted"))
        finally:
            service.release_connections()

    yield around(service.DatabaseReplyStore, "interrupt_abandoned", interrupt_abandoned)


@defect
def late_result_ignored(service: Any) -> Changes:
    """A worker that was frozen and comes back can't save the end of its reply."""
    yield edited(service.ending, "FINISH_SQL", "status IN ('streaming', 'interrupted')", "status = 'streaming'")


# Trouble that is no process's death


@defect
def heartbeat_judged_by_a_clock(service: Any) -> Changes:
    """A reply counts as abandoned if no checkpoint wrote it for a while, by the database's clock."""
    for name in ("APPEND_SQL", "INSERT_SQL"):
        yield edited(service.statements, name, "'infinity'", "statement_timestamp()")
    followed = "is_followed = draft.is_followed,\n"
    yield edited(service.replies, "CHECKPOINT_SQL", followed, followed + "heartbeat_at = statement_timestamp(),\n")


@defect
def locked_reply_holds_up_others(service: Any) -> Changes:
    """The checkpoint of all replies waits for one that is locked."""
    yield edited(service.replies, "CHECKPOINT_SQL", "'250ms'", "'0'")
    yield edited(service.replies, "CHECKPOINT_FREE_SQL", " SKIP LOCKED", "")


@defect
def silence_is_death(service: Any) -> Changes:
    """A worker counts the time in which it could not read any lease against the others."""

    def take(original: Original, watch: Any, readings: Any, now: float) -> Any:
        if watch._read_at is not None:
            watch._read_at = now
        return original(watch, readings, now)

    yield around(service.LeaseWatch, "take", take)


@defect
def judges_without_renewing(service: Any) -> Changes:
    """A worker that can't renew its own lease goes on judging the others."""

    def renew(original: Original, lease: Any) -> None:
        with lease._pool.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        try:
            original(lease)
        except LockNotAvailable:
            with lease._pool.cursor() as cursor:
                cursor.execute(service.leases.READ_SQL, {"id": lease.worker_id, "suspects": []})
                readings = [service.leases.Reading(row[0], row[1], service.leases.Process(*row[2:6])) for row in cursor]
            lease._dead = lease._watch.take(readings, lease._clock())

    yield around(service.leases.Lease, "renew", renew)


@defect
def failed_thread_leaves_reply(service: Any) -> Changes:
    """A reply whose thread fails for lack of memory is not ended by anyone."""
    yield around(service.Generation, "_end_unexpectedly", lambda original, generation: None)
    yield around(service.Generation, "save_for_gone_thread", lambda original, generation: None)
    yield around(service.LiveReplies, "_end_unknown", lambda original, live, now: None)


@defect
def worker_without_files_is_deaf(service: Any) -> Changes:
    """A worker that can't accept a connection, because it has too many files open, accepts none any more."""

    def do_read(original: Original, server: Any) -> Any:
        try:
            return original(server)
        except OSError:
            server.stop_accepting()
            return None

    yield around(service.StreamServer, "do_read", do_read)


@defect
def ending_worker_refuses(service: Any) -> Changes:
    """A worker that is told to end goes on accepting connections for a second, and refuses what comes."""

    def handle_exit(original: Original, worker: Any, sig: Any, frame: Any) -> None:
        worker.alive = False

    yield around(service.Worker, "handle_exit", handle_exit)
    yield around(service.permits, "was_accepted_before_end", lambda original: False)


# Reading


@defect
def resume_off_by_one(service: Any) -> Changes:
    """A client that reconnects to a running reply gets the last character again."""

    def frames_lacked(original: Original, transcript: Any, position: int, cursor: Any) -> Any:
        return original(transcript, position, cursor._replace(text=max(0, cursor.text - 1)))

    yield around(service.Transcript, "frames_lacked", frames_lacked)


@defect
def follower_elsewhere_skips_text(service: Any) -> Changes:
    """A reader at another server loses the first character of every piece."""

    def frames_after(original: Original, reply: Any, cursor: Any) -> Any:
        return original(reply, cursor._replace(text=cursor.text + 1))

    yield around(service.SharedReply, "frames_after", frames_after)


@defect
def leaving_client_stops_reply(service: Any) -> Changes:
    """A reply ends when its reader leaves."""

    def close(original: Original, stream: Any) -> None:
        transcript = getattr(stream._follower, "_transcript", None)
        for generation in service.live_replies.running():
            if generation.transcript is transcript and not stream._follower.has_ended:
                generation.stop()
        original(stream)

    yield around(service.FrameStream, "close", close)


@defect
def stream_holds_connection(service: Any) -> Changes:
    """A stream takes a database connection and keeps it to its end."""

    def take_one(original: Original, stream: Any) -> Any:
        connection.ensure_connection()
        return original(stream)

    yield around(service.FrameStream, "__next__", take_one)


# Sending


@defect
def retry_doubles_message(service: Any) -> Changes:
    """A send ignores its Idempotency-Key."""

    def send_turn(original: Original, **arguments: Any) -> Any:
        return original(**{**arguments, "idempotency_key": ""})

    yield around(service.begin, "send_turn", send_turn)


@defect
def retry_of_failure_asks_twice(service: Any) -> Changes:
    """A keyed retry of a send that got no answer saves the question a second time."""

    def send_turn(original: Original, **arguments: Any) -> Any:
        messages = service.Message.objects.in_conversation(arguments["conversation_id"])
        keyed = messages.exclude(idempotency_key=None).filter(idempotency_key=arguments["idempotency_key"]).first()
        if keyed is not None and service.read_earlier(messages, keyed.id).is_void:
            arguments["idempotency_key"] = ""
        return original(**arguments)

    yield around(service.begin, "send_turn", send_turn)


@defect
def two_replies_at_once(service: Any) -> Changes:
    """Neither the unique index nor a look at the conversation keeps a second reply from running."""
    dropping = threading.Lock()

    def send_turn(original: Original, **arguments: Any) -> Any:
        with dropping, connection.cursor() as cursor:
            cursor.execute("DROP INDEX IF EXISTS uq_messages_running")
        return original(**arguments)

    def survey(original: Original, *arguments: Any, **named: Any) -> Any:
        locked, found = original(*arguments, **named)
        return locked, replace(found, running_id=None)

    yield around(service.begin, "send_turn", send_turn)
    yield around(service.locking, "lock_and_survey", survey)
    yield around(service.begin, "refuse_while_busy", lambda original, messages, user_id: None)


@defect
def failed_answer_takes_over(service: Any) -> Changes:
    """A new answer counts in place of the one before it although it failed or is empty."""
    yield edited(service.ending, "FINISH_SQL", " AND (%(counts)s OR stop_requested) AS takes_over", " AS takes_over")


@defect
def new_answer_never_counts(service: Any) -> Changes:
    """A regenerated answer is whole and does not take the place of the one before it."""
    yield edited(service.ending, "FINISH_SQL", "AND (%(counts)s OR stop_requested) AS takes_over", "AND false AS takes_over")


# Stopping


@defect
def stop_from_elsewhere_lost(service: Any) -> Changes:
    """A stop that reaches another worker than the reply's is never passed on."""
    sql = service.replies.CHECKPOINT_SQL
    yield set_to(service.replies, "CHECKPOINT_SQL", sql.replace("messages.stop_requested AS", "false AS"))
    yield edited(service.replies, "CHECKPOINT_FREE_SQL", "messages.stop_requested", "false AS stop_requested")


@defect
def stop_leaves_model_running(service: Any) -> Changes:
    """A stop does not close the connection to the inference service."""
    yield around(service.UpstreamCall, "cut", lambda original, call: None)


@defect
def delete_leaves_model_running(service: Any) -> Changes:
    """Deleting a conversation does not stop its reply."""

    def checkpoint(original: Original, store: Any, drafts: Any) -> Any:
        return replace(original(store, drafts), deleted=frozenset())

    yield around(service.deleting, "stop_running_reply", lambda original, conversation_id: None)
    yield around(service.DatabaseReplyStore, "checkpoint", checkpoint)
