"""Play one schedule: turns with their readers, and the faults that strike when a turn reaches a point."""

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.exchange import Exchange, HangUp
from tests.support.steps import Step, done, event, respond, stall, token
from tests.support.waiting import wait_until

from . import acting, troubles
from .cluster import Cluster
from .continuing import Continuation
from .reading import Reader
from .schedules import NO_DEATH, Fault, Schedule
from .troubles import later, send_signal
from .turn import Turn
from .violation import Invariant, Violation

HELD_S = 0.3
RELOAD_PAUSE_S = 0.3
RELOAD_SENDERS = 4
# How long a reply has been locked when the others are looked at, and how old the text is that must be saved by then.
LOCKED_S = 2.0
SAVED_WITHIN_S = 1.2
# What these hold up is to be tried: the steps of a turn go on meanwhile.
NOT_WAITED_FOR = {"hold", "break", "leases", "pause", "silence", "clock", "freeze", "files"}
# At most so long a checkpoint is held up until its reply has ended.
LATE_CHECKPOINT_S = 0.6
# While it is being stopped, a reply has this long to go, if its words suffice, and never a silence that is a failure.
LEFT_WHEN_CUT_S = 5.0
LONGEST_PAUSE_S = 1.0
FEWEST_WORDS_LEFT = 4
# How long a worker may have a connection in use: no request needs one for long. Less than the model may be silent.
CONNECTIONS_LIMIT_S = 1.2


class Play:
    """One schedule on a cluster."""

    def __init__(self, schedule: Schedule, cluster: Cluster) -> None:
        self.schedule = schedule
        self.cluster = cluster
        self.user = Client(cluster.ports[0], make_token(), limit_s=20.0)
        self.turns: list[Turn] = []
        self.continuation: Continuation | None = None
        self.struck: list[Fault] = []
        self.killed: dict[int, float] = {}  # when, by process id
        self.ended: set[int] = set()  # worker processes that were told to end
        self.reloaded: set[int] = set()  # the numbers of nodes
        self.checkpoints_held_s: Counter[int] = Counter()  # how long in all, by process id
        self.complaints: list[Violation] = []
        self.refused_in_reload: list[str] = []
        self._armed = list(schedule.faults)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._busy: dict[str, threading.Thread] = {}

    def run(self) -> None:
        """Play it to the end of every reader and every fault."""
        if self.schedule.is_continued:
            self.continuation = Continuation(self)
        for number, plan in enumerate(self.schedule.turns):
            conversation = self.user.create_conversation()
            ports = self.cluster.ports[plan.node :] + self.cluster.ports[: plan.node]
            reader = Reader(self.user, ports, conversation, leaves_after=plan.leaves_after, comes_back=plan.comes_back)
            turn = Turn(number, conversation, f"schedule {self.schedule.seed} turn {number}.", plan, reader)
            self.turns.append(turn)
            self.cluster.upstream.script(self._script(turn), when=turn.prompt)
        if self.continuation is not None:
            self._begin(0, self.continuation.play)
        for turn in self.turns:
            self._begin(0, self._play_turn, turn)
            if turn.plan.is_watched:
                self._begin(0, acting.watch, self, turn)
            if turn.plan.is_awaited:
                self._begin(0, acting.wait_behind, self, turn)
        while any(thread.is_alive() for thread in self._threads):
            for thread in list(self._threads):
                thread.join()
        with self._lock:
            # A turn that was stopped before its model was asked has no last token. Its faults must not strike the sends that
            # check the promise.
            self._armed.clear()
        self.cluster.give_memory_back()
        for node in self.reloaded:
            self.ended |= self.cluster.wait_reloaded(node)
        self.user.close()

    def was_hit(self, *victims: str) -> bool:
        """Whether a fault has struck one of these."""
        return any(fault.victim in victims for fault in self.struck)

    @property
    def has_taken_memory(self) -> bool:
        """Whether a worker was to find no memory."""
        return any(fault.kind == "memory" for fault in self.struck)

    @property
    def may_interrupt(self) -> bool:
        """Whether a worker or its connections to the database were lost."""
        return any(
            fault.victim == "worker" or (fault.victim == "database" and fault.kind not in NO_DEATH) for fault in self.struck
        )

    def elsewhere(self, turn: Turn) -> list[int]:
        """List the ports, the one at which the turn was not sent first."""
        return [self.cluster.ports[1 - turn.plan.node], self.cluster.ports[turn.plan.node]]

    def _play_turn(self, turn: Turn) -> None:
        turn.reader.read(acting.send(turn))
        acting.act_on_the_end(self, turn)

    def _begin(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> threading.Thread:
        thread = later(seconds, lambda: action(*arguments))
        self._threads.append(thread)
        return thread

    # Points

    def reach(self, point: str, subject: str, pid: int | None) -> Step | None:
        """Strike where a fault waits for this; return what the inference service shall do instead of going on."""
        turns = [turn for turn in self.turns if turn.prompt in subject or any(name in subject for name in turn.workers)]
        for turn in turns:
            self._note(point, subject, pid, turn)
        with self._lock:
            numbers = {turn.number for turn in turns}
            fault = next((fault for fault in self._armed if fault.point == point and fault.turn in numbers), None)
            if fault is not None:
                self._armed.remove(fault)
        began = time.monotonic()
        instead = None
        if fault is not None:
            turn = self.turns[fault.turn]
            turn.faults.append(fault)
            self.struck.append(fault)
            instead = getattr(self, f"_strike_{fault.victim}")(fault, turn, pid or turn.newest_worker)
        self._hold(point, turns)
        if point == "checkpoint" and pid is not None:
            self.checkpoints_held_s[pid] += time.monotonic() - began
        return instead

    def _note(self, point: str, subject: str, pid: int | None, turn: Turn) -> None:
        if point == "start" and pid is not None:
            reply_id = subject.split()[0]
            if turn.is_regenerated:
                turn.regenerated_ids.add(reply_id)
            turn.workers[reply_id] = pid
        elif point == "done":
            turn.is_saved.set()

    def _hold(self, point: str, turns: list[Turn]) -> None:
        """Make a worker slow at the steps that must keep their order although they take their time."""
        for turn in turns:
            plan = turn.plan
            left_s = plan.pause_s * (len(plan.words) - turn.words_sent)
            may_hold = plan.has_late_checkpoint and not turn.has_held_checkpoint
            if point == "commit":
                time.sleep(plan.commit_held_s)
            elif point == "checkpoint" and may_hold and left_s < LATE_CHECKPOINT_S / 2:
                turn.has_held_checkpoint = True
                turn.is_saved.wait(LATE_CHECKPOINT_S)

    # The inference service

    def _script(self, turn: Turn) -> Step:
        def play(exchange: Exchange) -> None:
            opening, turn.opening = turn.opening, None
            if turn.is_regenerated:
                opening = opening or _second_answer(turn)
            if instead := opening or self.reach("first", turn.prompt, None):
                return instead(exchange)
            for number, word in enumerate(turn.plan.words):
                turn.words_sent = number
                if number == turn.plan.middle:
                    if instead := self.reach("middle", turn.prompt, None):
                        return instead(exchange)
                    self._look_at_connections()
                if thought := turn.plan.thoughts[number]:
                    event(json.dumps({"reasoning": thought}))(exchange)
                token(word)(exchange)
                exchange.wait(timeout_s=_pause_s(turn))
            return done()(exchange)

        return play

    def _look_at_connections(self) -> None:
        """See that each pool of every worker has all its connections at some moment, although replies are running.

        Not all pools at the same moment: on a busy machine, one of them is in use almost always.
        """
        if self.was_hit("worker", "database"):
            return
        never_free = set(self.cluster.pools())

        def is_free() -> bool:
            never_free.difference_update(place for place, (size, free) in self.cluster.pools().items() if free == size)
            return not never_free

        try:
            wait_until(is_free, "connections are free", CONNECTIONS_LIMIT_S)
        except AssertionError:
            if not self.was_hit("worker", "database"):
                held = f"while replies ran, a worker had a connection in use for {CONNECTIONS_LIMIT_S} s"
                self.complaints.append(Violation(Invariant.NO_CONNECTION, held))

    # Faults

    def _strike_worker(self, fault: Fault, turn: Turn, pid: int | None) -> None:
        if pid is None:
            return
        if fault.kind == "kill":
            self.killed[pid] = time.monotonic()
            self.ended.add(pid)
            send_signal(pid, signal.SIGKILL)
        elif fault.kind == "term":
            self.ended.add(pid)
            send_signal(pid, signal.SIGTERM)
        elif fault.kind == "reload":
            self._reload(pid)
        elif fault.kind == "memory":
            self.cluster.take_memory_away(pid)
        elif fault.kind == "files":
            self._one_at_a_time("files", lambda: troubles.take_files_away(pid, fault.lasts_s), fault)
        else:
            send_signal(pid, signal.SIGSTOP)
            self._begin(fault.lasts_s, send_signal, pid, signal.SIGCONT)

    def _reload(self, pid: int) -> None:
        node = self.cluster.node_of(pid)
        if node is None:
            return
        for _ in range(RELOAD_SENDERS):
            self._begin(0, acting.send_during_reload, self, node)
        self.reloaded.add(node)
        self.ended |= self.cluster.reload(node, RELOAD_PAUSE_S)

    def _look_at_others(self, turn: Turn) -> None:
        """See that other replies of the same worker are saved while one of them is locked."""
        time.sleep(LOCKED_S)
        now = time.monotonic()
        for other in self.turns:
            if other is turn or other.newest_worker != turn.newest_worker or other.reader.end or len(self.struck) > 1:
                continue
            shown = max((length for at, length in other.reader.seen if at < now - SAVED_WITHIN_S), default=0)
            rows = self.cluster.rows(
                "SELECT length(content) + length(reasoning) FROM messages WHERE id::text = %s", other.reader.message_id
            )
            if rows and rows[0][0] < shown:
                lacks = f"reply {other.reader.message_id} was not saved while another one was locked: {rows[0][0]} of {shown}"
                self.complaints.append(Violation(Invariant.SHOWN, lacks))

    def _strike_database(self, fault: Fault, turn: Turn, pid: int | None) -> None:
        actions = {
            "restart": lambda: self.cluster.restart_database(fault.lasts_s),
            "terminate": lambda: later(0, self.cluster.cut_connections),
            "lock": lambda: troubles.lock_table(self.cluster.postgres, "messages", "ACCESS EXCLUSIVE", fault.lasts_s),
            # As an index that is built: the leases can be read.
            "leases": lambda: troubles.lock_table(self.cluster.postgres, "workers", "SHARE", fault.lasts_s),
            "pause": lambda: troubles.pause(self.cluster.postgres, fault.lasts_s),
            "silence": lambda: self.cluster.silence_database(fault.lasts_s),
            "clock": lambda: troubles.step_clock(self.cluster.postgres, fault.lasts_s),
            "hold": lambda: self.cluster.hold_rows(turn.conversation, fault.lasts_s),
            "break": lambda: self.cluster.hold_rows(turn.conversation, fault.lasts_s, then_break=True),
        }
        self._one_at_a_time("database", actions[fault.kind], fault)
        if fault.kind == "hold" and fault.lasts_s > LOCKED_S:
            self._begin(0, self._look_at_others, turn)

    def _strike_upstream(self, fault: Fault, turn: Turn, pid: int | None) -> Step | None:
        if fault.point in ("checkpoint", "commit", "done") or fault.kind == "refuse":
            if fault.lets_go_early and fault.point in ("insert", "start"):
                turn.opening = REFUSE
            else:
                self._one_at_a_time("upstream", lambda: self.cluster.take_upstream_away(min(fault.lasts_s, 1.0)), fault)
            return None
        steps = {"die": _hang_up(reset=False), "reset": _hang_up(reset=True), "stall": stall(), "garbage": event("{no json")}
        if fault.point in ("first", "middle"):
            return steps[fault.kind]
        turn.opening = steps[fault.kind]
        return None

    def _strike_proxy(self, fault: Fault, turn: Turn, pid: int | None) -> None:
        node, ends = turn.plan.node, fault.lets_go_early
        self._one_at_a_time("proxy", lambda: self.cluster.freeze_proxy(node, fault.lasts_s, then_break=ends), fault)

    def _strike_client(self, fault: Fault, turn: Turn, pid: int | None) -> None:
        if fault.kind == "break":
            turn.reader.disturb()
        elif fault.kind == "pause":
            turn.reader.pause(fault.lasts_s)
        elif fault.kind == "repeat":
            self._begin(0, acting.repeat, self, turn)
        elif fault.kind == "regenerate":
            self._begin(0, lambda: acting.regenerate(self, turn, retries=False))
        else:
            left = len(turn.plan.words) - turn.words_sent
            is_running = fault.point in ("start", "first", "middle", "checkpoint") and left >= FEWEST_WORDS_LEFT
            turn.is_being_cut = is_running
            verb = acting.stop if fault.kind == "stop" else acting.delete
            self._begin(0, lambda: verb(self, turn, was_running=is_running))
        if not fault.lets_go_early:
            time.sleep(HELD_S)

    def _one_at_a_time(self, victim: str, action: Callable[[], threading.Thread], fault: Fault) -> None:
        with self._lock:
            if victim in self._busy and self._busy[victim].is_alive():
                return
            self._busy[victim] = thread = action()
            self._threads.append(thread)
        # The inference service's own threads must not wait for its connections to end, and what is held is to be waited for.
        if not fault.lets_go_early and fault.point not in ("first", "middle") and fault.kind not in NOT_WAITED_FOR:
            thread.join()


def _pause_s(turn: Turn) -> float:
    if not turn.is_being_cut:
        return turn.plan.pause_s
    left = len(turn.plan.words) - turn.words_sent
    return max(turn.plan.pause_s, min(LONGEST_PAUSE_S, LEFT_WHEN_CUT_S / left))


def _second_answer(turn: Turn) -> Step | None:
    """Return how the model answers a regeneration; None for like the first time."""
    return {"": None, "refuse": REFUSE, "empty": done(), "die": _die_after(turn.plan.words[0])}[turn.plan.second_answer]


def _die_after(word: str) -> Step:
    def step(exchange: Exchange) -> None:
        token(word)(exchange)
        raise HangUp

    return step


def _hang_up(*, reset: bool) -> Step:
    def step(_: Exchange) -> None:
        raise HangUp(reset=reset)

    return step


REFUSE = respond("503 Service Unavailable", b"{}")
