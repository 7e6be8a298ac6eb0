"""What must hold after every schedule, whatever went wrong in it."""

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support.client import Client
from tests.support.waiting import wait_until

from .cluster import CHECKPOINT_S
from .playing import Play, Turn
from .reading import BROKEN, Reader

# Abandoned after 1.5 s, looked for every 0.25 s; replies end by themselves within 8 s; a pool reconnects within seconds.
SETTLE_LIMIT_S = 20.0
# One checkpoint interval, what a busy machine may add to it, and the time that text spends on its way to the reader.
KILL_ALLOWANCE_S = CHECKPOINT_S + 0.6


@dataclass(frozen=True)
class Reply:
    """A reply as it is stored."""

    id: str
    parent_id: str
    status: str
    content: str


def violations(play: Play) -> list[str]:
    """Wait until the service has come to rest, and list what does not hold."""
    found = [*play.complaints, *_not_settled(play)]
    for turn in play.turns:
        found += [f"turn {turn.number}: {problem}" for problem in _of_turn(play, turn)]
    for turn in play.turns:
        if not turn.is_deleted:
            found += [f"turn {turn.number}: {problem}" for problem in _fresh_send(play, turn)]
    return found or _not_settled(play)


def _not_settled(play: Play) -> list[str]:
    """Return what keeps the service from rest: running replies, threads, connections in use."""
    last: list[str] = ["it was never looked at"]

    def is_settled() -> bool:
        last[:] = _unrest(play)
        return not last

    try:
        wait_until(is_settled, "the service has come to rest", SETTLE_LIMIT_S)
    except AssertionError:
        return [f"after {SETTLE_LIMIT_S:.0f} s still: {problem}" for problem in last]
    return []


def _unrest(play: Play) -> list[str]:
    cluster = play.cluster
    try:
        running = cluster.rows("SELECT id FROM messages WHERE status = 'streaming'")
    except psycopg.OperationalError as failure:
        return [f"the database is away: {failure}"]
    found = [f"reply {reply_id} is streaming" for (reply_id,) in running]
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


def _of_turn(play: Play, turn: Turn) -> list[str]:
    found = [complaint for reader in turn.readers for complaint in reader.complaints]
    rows = play.cluster.rows(
        "SELECT id::text, role, coalesce(parent_id::text, ''), status, content FROM messages"
        " WHERE conversation_id = %s ORDER BY created_at, id",
        turn.conversation,
    )
    if turn.is_deleted:
        return found + (["it is deleted and has messages"] if rows else [])
    asked = [row for row in rows if row[1] == "user"]
    replies = {row[0]: Reply(row[0], row[2], row[3], row[4]) for row in rows if row[1] == "assistant"}
    if len(asked) != 1:
        return [*found, f"{len(asked)} user messages for one key"]
    calls = play.cluster.upstream.generations(turn.prompt)
    if len(calls) > len(replies):
        found.append(f"{len(calls)} calls of the inference service for {len(replies)} replies")
    whole = "".join(turn.plan.words)
    for reply in replies.values():
        if not whole.startswith(reply.content) or (reply.status == "complete" and reply.content != whole):
            found.append(f"reply {reply.id} ({reply.status}) is not what the model said: {reply.content!r}")
    for reader in turn.readers:
        found += _of_reader(play, turn, reader, replies)
    found += [problem for answer in turn.stops for problem in _of_stop(play, answer, replies)]
    return found + _expected_whole(play, turn, replies)


def _of_reader(play: Play, turn: Turn, reader: Reader, replies: dict[str, Reply]) -> list[str]:
    if reader.message_id is None:
        return []
    if reader.message_id not in replies:
        return [f"reply {reader.message_id}, which a client read, is not stored"]
    reply = replies[reader.message_id]
    name = f"reply {reply.id} ({reply.status}, {len(reply.content)} characters)"
    if not reply.content.startswith(reader.text):
        if turn.pid not in play.killed or not reader.text.startswith(reply.content):
            return [f"{name} does not begin with what a client saw: {reader.text!r} against {reply.content!r}"]
        shown = max((length for at, length in reader.seen if at < play.killed[turn.pid] - KILL_ALLOWANCE_S), default=0)
        if shown > len(reply.content) and not _hit(play, "database"):
            return [f"{name} lacks what a client saw more than {KILL_ALLOWANCE_S} s before the kill ({shown} characters)"]
        return []
    said = reader.end["status"] if reader.end else None
    if said in ("complete", "stopped", "failed") and (said != reply.status or reader.text != reply.content):
        return [f"a client was told {said} after {len(reader.text)} characters, but it is {name}"]
    if "not_saved" in reader.errors:
        return [f"{name} was not saved"]
    return []


def _of_stop(play: Play, answer: dict[str, Any], replies: dict[str, Reply]) -> list[str]:
    reply = replies.get(answer["id"])
    if reply is None:
        return [f"reply {answer['id']}, which a stop answered with, is not stored"]
    if answer["status"] == "streaming":
        return [] if _hit(play, "worker") or _hit(play, "database") else [f"a stop of {reply.id} answered with streaming"]
    if answer["status"] != "interrupted" and (answer["status"], answer["content"]) != (reply.status, reply.content):
        return [f"a stop answered {answer['status']} {answer['content']!r}, but it is {reply.status} {reply.content!r}"]
    return []


def _expected_whole(play: Play, turn: Turn, replies: dict[str, Reply]) -> list[str]:
    """Faults that the service can make good must leave no trace: clients that leave, databases that come back."""
    if any(_hit(play, victim) for victim in ("worker", "upstream")) or turn.stops:
        return []
    if not replies:
        return ["there is no reply"]
    if _hit(play, "database") and not play.cluster.upstream.generations(turn.prompt):
        return []  # the answer to the commit was lost: the turn is saved, its reply never began
    return [
        f"reply {reply.id} is {reply.status}, although nobody stopped it"
        for reply in replies.values()
        if reply.status != "complete" and not _was_tried_again(play, reply, replies)
    ]


def _was_tried_again(play: Play, reply: Reply, replies: dict[str, Reply]) -> bool:
    """Whether a reply never began, because the answer to its commit was lost, and a retry has answered its question."""
    never_began = (reply.status, reply.content) == ("interrupted", "")
    return _hit(play, "database") and never_began and any(other.status == "complete" for other in replies.values())


def _hit(play: Play, victim: str) -> bool:
    return any(fault.victim == victim for fault in play.struck)


def _fresh_send(play: Play, turn: Turn) -> list[str]:
    """Send once more, at the other node, without a second try."""
    prompt = f"and a fresh question, {time.monotonic_ns()}"
    user: Client = play.user.at(play.cluster.ports[1 - turn.plan.node])
    try:
        stream = user.send(turn.conversation, prompt)
        if stream.status != 200:
            return [f"a fresh send was refused: {stream.status} {stream.json}"]
        end = stream.finish()
    except BROKEN as failure:
        return [f"a fresh send broke: {type(failure).__name__} {failure}"]
    finally:
        user.close()
    return [] if (end["status"], stream.text) == ("complete", prompt) else [f"a fresh send ended {end} with {stream.text!r}"]
