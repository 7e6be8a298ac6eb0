"""What clients do besides reading a reply: stop and delete it, and act on `done` the moment they read it."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.client import Answer, Client

from .reading import BROKEN, PASSING, PAUSE_S, Reader
from .turn import Cut, Turn
from .violation import Invariant, Violation

if TYPE_CHECKING:
    from .playing import Play

VERB_LIMIT_S = 20.0
RELOAD_S = 2.5
RIVALS = ("repeat", "regenerate", "stop", "delete")


def stop(play: "Play", turn: Turn, *, was_running: bool) -> None:
    """Stop the turn's reply, from another node first."""
    asked_at = time.monotonic()
    answer = _insist(play, turn, lambda user: user.stop(turn.conversation))
    if answer is not None and answer.status == 200:
        turn.cuts.append(Cut("stop", asked_at, was_running, answer.json))
    elif answer is not None:
        turn.may_begin_stopped = True
    turn.is_being_cut = False


def delete(play: "Play", turn: Turn, *, was_running: bool) -> None:
    """Delete the turn's conversation, from another node first."""
    asked_at = time.monotonic()
    answer = _insist(play, turn, lambda user: user.request("DELETE", f"/api/conversations/{turn.conversation}"))
    turn.is_deleted = answer is not None
    if turn.is_deleted:
        turn.cuts.append(Cut("deletion", asked_at, was_running, None))
    turn.is_being_cut = False


def send(turn: Turn) -> Callable[[Client], "object"]:
    return lambda user: user.send(turn.conversation, turn.prompt, headers=turn.key)


def watch(play: "Play", turn: Turn) -> None:
    """Read the reply from its start at another node, as soon as its id is known."""
    turn.reader.is_named.wait()
    if turn.reader.message_id is not None:
        watcher = Reader(play.user, play.elsewhere(turn), turn.conversation, message_id=turn.reader.message_id)
        turn.more_readers.append(watcher)
        watcher.read(watcher.follow)


def wait_behind(play: "Play", turn: Turn) -> None:
    """Send another message that waits for the end of the reply, at another node, and read its reply."""
    turn.reader.is_named.wait()
    if turn.reader.message_id is None:
        return
    turn.awaiting = Reader(play.user, play.elsewhere(turn), turn.conversation)
    key = {"Idempotency-Key": f"waiting-{turn.number}"}
    turn.awaiting.read(lambda user: user.send(turn.conversation, turn.waiting_prompt, headers=key, when_busy="enqueue"))


def repeat(play: "Play", turn: Turn) -> None:
    """Send the message again with its key, at another node, and read its reply."""
    again = Reader(play.user, play.elsewhere(turn), turn.conversation)
    turn.more_readers.append(again)
    again.read(send(turn))


def regenerate(play: "Play", turn: Turn, *, retries: bool) -> None:
    """Ask for another answer, at another node, and read it."""
    path = f"/api/conversations/{turn.conversation}/regenerate"
    key = {"Idempotency-Key": f"regenerate-{turn.number}-{len(turn.more_readers)}"}
    other = Reader(play.user, play.elsewhere(turn), turn.conversation)
    turn.more_readers.append(other)
    # A running reply must not end for this, although its reader may just have lost the connection.
    other.read(lambda user: user.open("POST", path, {"when_busy": "reject"}, key), retries=retries)


def send_during_reload(play: "Play", node: int) -> None:
    """Send again and again while a node replaces its workers. None may be refused, if nothing else goes wrong."""
    user = play.user.at(play.cluster.ports[node])
    until = time.monotonic() + RELOAD_S
    while time.monotonic() < until:
        try:
            stream = user.send(user.create_conversation(), "meanwhile")
            if stream.status != 200:
                play.refused_in_reload.append(f"a send was refused: {stream.status} {stream.json}")
            stream.close()
        except TimeoutError:
            # On a busy machine, new workers take their time. Waiting for them is no refusal.
            return
        except BROKEN as failure:
            play.refused_in_reload.append(f"a send broke: {type(failure).__name__} {failure}")


def act_on_the_end(play: "Play", turn: Turn) -> None:
    """Do what a client may do as soon as it has read `done`."""
    end = turn.reader.end
    if end is None or turn.is_deleted:
        return
    # After another message it would be asked once more at the end.
    came_to_nothing = end["status"] in ("failed", "interrupted") and not turn.reader.text and not turn.plan.is_awaited
    if came_to_nothing or turn.plan.then == "repeat":
        repeat(play, turn)
    elif any(fault.kind in RIVALS and fault.turn == turn.number for fault in play.schedule.faults):
        return  # another client may be about to begin or to end a reply, too
    elif turn.plan.then == "regenerate":
        turn.is_regenerated = True
        regenerate(play, turn, retries=True)
    elif turn.plan.then == "ask":
        _ask_on(play, turn)


def _ask_on(play: "Play", turn: Turn) -> None:
    """Send the next message, at another node, without a second try: `done` means that the conversation is free."""
    prompt = f"and next, {time.monotonic_ns()}"
    user = play.user.at(play.elsewhere(turn)[0])
    problem = None
    try:
        stream = user.send(turn.conversation, prompt)
        if stream.status != 200:
            problem = f"a message sent on {turn.reader.end} was refused: {stream.status} {stream.json}"
        elif (stream.finish()["status"], stream.text) != ("complete", prompt):
            problem = f"a message sent on {turn.reader.end} was answered {stream.objects[-1]}"
    except BROKEN as failure:
        problem = f"a message sent on {turn.reader.end} broke: {type(failure).__name__} {failure}"
    if problem and not play.was_hit("worker", "database", "upstream", "proxy") and not turn.is_deleted:
        play.complaints.append(Violation(Invariant.GOES_ON, problem))


def _insist(play: "Play", turn: Turn, verb: Callable[[Client], Answer]) -> Answer | None:
    """Try at one node and the other until there is an answer that counts."""
    users = [play.user.at(port) for port in play.elsewhere(turn)]
    give_up_at = time.monotonic() + VERB_LIMIT_S
    while time.monotonic() < give_up_at:
        try:
            answer = verb(users[0])
            if answer.status in (200, 204, 404):
                return answer
            if answer.json["code"] not in PASSING:
                play.complaints.append(
                    Violation(Invariant.EXPECTED, f"unexpected answer {answer.status} {json.dumps(answer.json)[:200]}")
                )
                return None
        except BROKEN:
            pass
        users.append(users.pop(0))
        time.sleep(PAUSE_S)
    play.complaints.append(Violation(Invariant.EXPECTED, f"no answer to a stop or delete in {VERB_LIMIT_S:.0f} s"))
    return None
