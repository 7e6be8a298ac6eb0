"""What must hold after every schedule, whatever went wrong in it."""

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from chatapi.outgoing.calls import SILENT_SHARE
from tests.support.client import Client
from tests.support.exchange import Call
from tests.support.waiting import wait_until

from .cluster import CHECKPOINT_S, START_TIMEOUT_S
from .playing import Play
from .reading import BROKEN, FINAL, Reader
from .turn import Cut, Turn
from .violation import Invariant, Violation

# Abandoned after 2 s, looked for every 0.3 s; replies end by themselves within 8 s; a pool reconnects within seconds. On a
# busy machine, a node that replaces its workers twice takes 25 s.
SETTLE_LIMIT_S = 60.0
# One checkpoint interval, what a busy machine may add to it, and the time that text spends on its way to the reader.
KILL_ALLOWANCE_S = CHECKPOINT_S + 0.6
# The same for a stop at another worker; what is stopped has more seconds to go.
STOP_ALLOWANCE_S = CHECKPOINT_S + 2.5
# After which a connection that was kept is given up for a new one.
SILENCE_S = START_TIMEOUT_S / SILENT_SHARE


@dataclass(frozen=True)
class Reply:
    """A reply as it is stored."""

    id: str
    status: str
    content: str
    reasoning: str
    is_active: bool

    def __str__(self) -> str:
        return f"reply {self.id} ({self.status}, {len(self.content)} characters)"

    @property
    def has_come_to_something(self) -> bool:
        return self.status in ("complete", "stopped") and bool(self.content)


def violations(play: Play) -> list[Violation]:
    """Wait until the service has come to rest, and list what does not hold."""
    found = [*play.complaints, *_not_settled(play)]
    found += play.cluster.history.violations(
        may_be_interrupted=play.may_interrupt,
        may_never_begin=play.was_hit("database"),
        continued_id=play.continuation and play.continuation.reply_id,
    )
    if play.continuation is not None:
        found += play.continuation.violations()
    if all(fault.kind == "reload" for fault in play.struck):
        found += [Violation(Invariant.NOT_REFUSED, problem) for problem in play.refused_in_reload]
    for turn in play.turns:
        found += _of_turn(play, turn)
    for turn in play.turns:
        if not turn.is_deleted:
            found += _fresh_send(play, turn)
    return found or _not_settled(play)


def _not_settled(play: Play) -> list[Violation]:
    """Return what keeps the service from rest: running replies, threads, connections in use."""
    last: list[str] = ["it was never looked at"]

    def is_settled() -> bool:
        last[:] = _unrest(play)
        return not last

    try:
        wait_until(is_settled, "the service has come to rest", SETTLE_LIMIT_S)
    except AssertionError:
        return [Violation(Invariant.REST, f"after {SETTLE_LIMIT_S:.0f} s still: {problem}") for problem in last]
    return []


def _unrest(play: Play) -> list[str]:
    cluster = play.cluster
    try:
        running = cluster.rows("SELECT id FROM messages WHERE status = 'streaming'")
        waiting = cluster.rows("SELECT id FROM queued_messages WHERE NOT is_held")
    except psycopg.OperationalError as failure:
        return [f"the database is away: {failure}"]
    found = [f"reply {reply_id} is streaming" for (reply_id,) in running]
    found += [f"message {message_id} waits" for (message_id,) in waiting]
    states = cluster.worker_states()
    if states is None:
        return [*found, "a worker is missing or does not answer"]
    for pid, state in states.items():
        if pid in play.ended:
            found.append(f"worker {pid} has not ended yet")
        if state["replies"] or state["threads"]:
            found.append(f"worker {pid} has {state['replies']} replies and the threads {state['threads']}")
        if state["connections_free"] != state["connections"] or state["connections_wanted"]:
            found.append(f"worker {pid} has {state['connections_free']} of {state['connections']} connections free")
    return found + [
        f"the call for {call.prompt!r} is open" for call in cluster.upstream.generations() if not call.over.is_set()
    ]


def _of_turn(play: Play, turn: Turn) -> list[Violation]:
    found = [complaint for reader in turn.readers for complaint in reader.complaints]
    found += [problem for cut in turn.cuts for problem in _of_cut(play, turn, cut)]
    rows = play.cluster.rows(
        "SELECT id::text, role, parent_id::text, status, content, reasoning, is_active FROM messages"
        " WHERE conversation_id = %s ORDER BY created_at, id",
        turn.conversation,
    )
    if turn.is_deleted:
        return found + ([Violation(Invariant.REST, f"turn {turn.number} is deleted and has messages")] if rows else [])
    asked = [row[0] for row in rows if row[1] == "user" and row[4] == turn.prompt]
    if len(asked) != 1:
        return [*found, Violation(Invariant.ONE_QUESTION, f"{len(asked)} user messages for one key")]
    replies = {row[0]: Reply(row[0], *row[3:]) for row in rows if row[2] == asked[0]}
    generations = play.cluster.upstream.generations(turn.prompt)
    calls = [call for call in generations if not _was_sent_again(call, generations)]
    if len(calls) > len(replies):
        problem = f"{len(calls)} calls of the inference service for {len(replies)} replies"
        found.append(Violation(Invariant.ONE_CALL, problem))
    whole, thought = "".join(turn.plan.words), "".join(turn.plan.thoughts)
    for reply in replies.values():
        is_whole = (reply.content, reply.reasoning) == (whole, thought)
        is_part = whole.startswith(reply.content) and thought.startswith(reply.reasoning)
        if not is_part or (reply.status == "complete" and not is_whole):
            found.append(Violation(Invariant.WHAT_THE_MODEL_SAID, f"{reply} is {reply.content!r} after {reply.reasoning!r}"))
    for reader in turn.readers:
        found += _of_reader(play, turn, reader, replies)
    return [*found, *_what_counts(play, turn, replies), *_no_trace(play, turn, replies), *_of_waiting(play, turn, rows)]


def _was_sent_again(call: Call, generations: list[Call]) -> bool:
    """Return whether a kept connection ended at its next request or stayed silent, so that a new one took its place."""
    if call.was_cut_at_once:
        return True
    if call.tokens_sent or call.client_left_at is None or call.client_left_at - call.asked_at < SILENCE_S:
        return False
    trace = call.headers.get("x-trace-id")
    return any(later.headers.get("x-trace-id") == trace and later.asked_at > call.asked_at for later in generations)


def _of_waiting(play: Play, turn: Turn, rows: list[tuple[Any, ...]]) -> list[Violation]:
    """A message that was accepted to wait has had its turn, once, with one reply."""
    reader = turn.awaiting
    if reader is None:
        return []
    found = list(reader.complaints)
    asked = [row[0] for row in rows if row[1] == "user" and row[4] == turn.waiting_prompt]
    replies = [row for row in rows if row[2] in asked]
    if len(asked) > 1 or (len(asked) == 0 and reader.message_id is not None):
        found.append(Violation(Invariant.ONE_QUESTION, f"{len(asked)} messages for one that waited"))
    for reply_id, *_, status, content, _, _ in replies:
        if status == "complete" and content != turn.waiting_prompt:
            found.append(Violation(Invariant.WHAT_THE_MODEL_SAID, f"reply {reply_id} to a message that waited: {content!r}"))
        if status != "complete" and not play.was_hit("worker", "database", "upstream", "proxy", "client"):
            found.append(Violation(Invariant.NO_TRACE, f"reply {reply_id} to a message that waited is {status}"))
    if reader.end and reader.end["status"] in FINAL and reader.message_id is not None:
        told = (reader.end["status"], reader.text)
        if told not in [(row[3], row[4]) for row in replies if row[0] == reader.message_id]:
            found.append(Violation(Invariant.SAVED, f"a client was told {told} of a message that waited: {replies}"))
    return found


def _of_reader(play: Play, turn: Turn, reader: Reader, replies: dict[str, Reply]) -> list[Violation]:
    if reader.message_id is None:
        return []
    if reader.message_id not in replies:
        return [Violation(Invariant.SHOWN, f"reply {reader.message_id}, which a client read, is not stored")]
    reply = replies[reader.message_id]
    said = reader.end["status"] if reader.end else None
    if said in FINAL and (said, reader.text, reader.reasoning) != (reply.status, reply.content, reply.reasoning):
        problem = f"a client was told {said} after {reader.text!r}, but it is {reply}: {reply.content!r}"
        return [Violation(Invariant.SAVED, problem)]
    if "not_saved" in reader.errors:
        return [Violation(Invariant.SHOWN, f"{reply} was not saved")]
    if said == "interrupted" and not play.may_interrupt and not (reply.content == "" and play.was_hit("database")):
        return [Violation(Invariant.GUESS, f"a client was told that {reply} is interrupted, although no worker was lost")]
    if reply.content.startswith(reader.text) and reply.reasoning.startswith(reader.reasoning):
        return []
    worker = turn.workers.get(reply.id)
    if worker not in play.killed or not _agree(reader, reply):
        problem = f"{reply} does not begin with what a client saw: {reader.text!r} against {reply.content!r}"
        return [Violation(Invariant.SHOWN, problem)]
    allowance_s = KILL_ALLOWANCE_S + play.checkpoints_held_s[worker]
    shown = max((length for at, length in reader.seen if at < play.killed[worker] - allowance_s), default=0)
    if shown > len(reply.content) + len(reply.reasoning) and not play.was_hit("database"):
        problem = f"{reply} lacks what a client saw more than {allowance_s:.1f} s before the kill ({shown} characters)"
        return [Violation(Invariant.SHOWN, problem)]
    return []


def _agree(reader: Reader, reply: Reply) -> bool:
    """Whether of each channel, what a client saw and what is stored begin alike."""
    channels = [(reader.text, reply.content), (reader.reasoning, reply.reasoning)]
    return all(seen.startswith(stored) or stored.startswith(seen) for seen, stored in channels)


def _of_cut(play: Play, turn: Turn, cut: Cut) -> list[Violation]:
    """Judge a stop or a deletion: where nothing else went wrong, it has ended the model's work soon."""
    found: list[str] = []
    if cut.was_running and not play.was_hit("worker", "database", "upstream", "proxy"):
        for call in play.cluster.upstream.generations(turn.prompt):
            if call.client_left_at is None:
                found.append(f"the model went on to its end after a {cut.verb}")
            elif call.client_left_at > cut.asked_at + STOP_ALLOWANCE_S:
                found.append(f"the model went on for {call.client_left_at - cut.asked_at:.1f} s after a {cut.verb}")
        if cut.message and cut.message["status"] != "stopped":
            found.append(f"a stop of a running reply answered {cut.message['status']}")
    if cut.message and not turn.is_deleted:
        found += _of_stopped_message(play, cut.message)
    return [Violation(Invariant.STOPPED, problem) for problem in found]


def _of_stopped_message(play: Play, message: dict[str, str]) -> list[str]:
    """Compare what a stop answered with what is stored now."""
    rows = play.cluster.rows("SELECT status, content FROM messages WHERE id = %s", message["id"])
    if not rows:
        return [f"reply {message['id']}, which a stop answered with, is not stored"]
    said, (stored,) = (message["status"], message["content"]), rows
    if said[0] == "streaming":
        return [] if play.was_hit("worker", "database") else [f"a stop of {message['id']} answered with streaming"]
    return [f"a stop answered {said}, but it is {stored}"] if said[0] != "interrupted" and said != stored else []


def _what_counts(play: Play, turn: Turn, replies: dict[str, Reply]) -> list[Violation]:
    """Exactly one answer counts: the newest that came to something, where there is one."""
    counting = [reply for reply in replies.values() if reply.is_active]
    good = [reply for reply in replies.values() if reply.has_come_to_something]
    if replies and len(counting) != 1:
        return [Violation(Invariant.COUNTS, f"{len(counting)} of {len(replies)} answers count")]
    # A result that comes after the guess that its worker is lost takes no other answer's place.
    candidates = good if play.was_hit("worker", "database") else good[-1:]
    if good and counting[0] not in candidates:
        return [Violation(Invariant.COUNTS, f"{counting[0]} counts, although there is {candidates[-1]}")]
    return []


def _no_trace(play: Play, turn: Turn, replies: dict[str, Reply]) -> list[Violation]:
    """Faults that the service can make good must leave no trace: clients that leave, databases that come back."""
    if play.was_hit("worker", "upstream") or turn.cuts:
        return []
    if not replies:
        return [Violation(Invariant.NO_TRACE, "there is no reply")]
    if play.was_hit("database") and not play.cluster.upstream.generations(turn.prompt):
        return []  # the answer to the commit was lost: the turn is saved, its reply never began
    return [
        Violation(Invariant.NO_TRACE, f"{reply} is not complete, although no client stopped it")
        for reply in replies.values()
        if reply.status != "complete"
        and reply.id not in turn.regenerated_ids
        and not _was_tried_again(play, reply, replies)
        and not (turn.may_begin_stopped and (reply.status, reply.content) == ("stopped", ""))
    ]


def _was_tried_again(play: Play, reply: Reply, replies: dict[str, Reply]) -> bool:
    """Whether a reply never began, because the answer to its commit was lost, and a retry has answered its question."""
    never_began = (reply.status, reply.content) == ("interrupted", "")
    return play.was_hit("database") and never_began and any(other.status == "complete" for other in replies.values())


def _fresh_send(play: Play, turn: Turn) -> list[Violation]:
    """Send once more, at the other node, without a second try."""
    prompt = f"and a fresh question, {time.monotonic_ns()}"
    user: Client = play.user.at(play.cluster.ports[1 - turn.plan.node])
    problem = None
    try:
        stream = user.send(turn.conversation, prompt)
        if stream.status != 200:
            problem = f"a fresh send was refused: {stream.status} {stream.json}"
        elif ((end := stream.finish())["status"], stream.text) != ("complete", prompt):
            problem = f"a fresh send ended {end} with {stream.text!r}"
    except BROKEN as failure:
        problem = f"a fresh send broke: {type(failure).__name__} {failure}"
    finally:
        user.close()
    return [Violation(Invariant.GOES_ON, problem)] if problem else []
