"""Play one schedule: turns with their readers, and the faults that strike when a turn reaches a point."""

import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.auth import make_token
from tests.support.client import Answer, Client
from tests.support.exchange import Exchange, HangUp
from tests.support.steps import Step, done, event, respond, stall, token

from .cluster import Cluster, later, send_signal
from .reading import BROKEN, PASSING, PAUSE_S, Reader
from .schedules import Fault, Schedule, TurnPlan

HELD_S = 0.3
VERB_LIMIT_S = 20.0


@dataclass(eq=False)
class Turn:
    """A turn while it is played, and what became of it."""

    number: int
    conversation: str
    prompt: str
    plan: TurnPlan
    reader: Reader
    pid: int | None = None
    reply_ids: set[str] = field(default_factory=set)
    opening: Step | None = None  # what the inference service does instead of answering
    more_readers: list[Reader] = field(default_factory=list)
    stops: list[dict[str, Any]] = field(default_factory=list)
    is_deleted: bool = False
    faults: list[Fault] = field(default_factory=list)

    @property
    def key(self) -> dict[str, str]:
        return {"Idempotency-Key": f"key-{self.number}"}

    @property
    def readers(self) -> list[Reader]:
        return [self.reader, *self.more_readers]


class Play:
    """One schedule on a cluster."""

    def __init__(self, schedule: Schedule, cluster: Cluster) -> None:
        self.schedule = schedule
        self.cluster = cluster
        self.user = Client(cluster.ports[0], make_token(), limit_s=20.0)
        self.turns: list[Turn] = []
        self.struck: list[Fault] = []
        self.killed: dict[int, float] = {}  # when, by process id
        self.ended: set[int] = set()  # worker processes that were told to end
        self.complaints: list[str] = []
        self._armed = list(schedule.faults)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._busy: dict[str, threading.Thread] = {}

    def run(self) -> None:
        """Play it to the end of every reader and every fault."""
        for number, plan in enumerate(self.schedule.turns):
            conversation = self.user.create_conversation()
            ports = self.cluster.ports[plan.node :] + self.cluster.ports[: plan.node]
            prompt = f"schedule {self.schedule.seed} turn {number}."
            reader = Reader(self.user, ports, conversation, plan.leaves_after)
            turn = Turn(number, conversation, prompt, plan, reader)
            self.turns.append(turn)
            self.cluster.upstream.script(self._script(turn), when=prompt)
        for turn in self.turns:
            self._begin(
                0, turn.reader.read, lambda user, turn=turn: user.send(turn.conversation, turn.prompt, headers=turn.key)
            )
        while any(thread.is_alive() for thread in self._threads):
            for thread in list(self._threads):
                thread.join()
        self.user.close()

    def _begin(self, seconds: float, action: Callable[..., Any], *arguments: Any) -> threading.Thread:
        thread = later(seconds, lambda: action(*arguments))
        self._threads.append(thread)
        return thread

    # Points

    def reach(self, point: str, subject: str, pid: int | None) -> Step | None:
        """Strike where a fault waits for this; return what the inference service shall do instead of going on."""
        turn = next((turn for turn in self.turns if self._concerns(turn, subject)), None)
        if turn is None:
            return None
        if point == "start":
            turn.pid = pid
            turn.reply_ids.add(subject.split()[0])
        with self._lock:
            fault = next((fault for fault in self._armed if (fault.point, fault.conversation) == (point, turn.number)), None)
            if fault is None:
                return None
            self._armed.remove(fault)
        turn.faults.append(fault)
        self.struck.append(fault)
        return getattr(self, f"_strike_{fault.victim}")(fault, turn, pid or turn.pid)

    @staticmethod
    def _concerns(turn: Turn, subject: str) -> bool:
        return turn.prompt in subject or subject in turn.reply_ids

    def _script(self, turn: Turn) -> Step:
        def play(exchange: Exchange) -> None:
            opening, turn.opening = turn.opening, None
            if instead := opening or self.reach("first", turn.prompt, None):
                return instead(exchange)
            for number, word in enumerate(turn.plan.words):
                if number == turn.plan.middle and (instead := self.reach("middle", turn.prompt, None)):
                    return instead(exchange)
                token(word)(exchange)
                if turn.plan.pause_s:
                    exchange.wait(timeout_s=turn.plan.pause_s)
            return done()(exchange)

        return play

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
        else:
            send_signal(pid, signal.SIGSTOP)
            self._begin(fault.lasts_s, send_signal, pid, signal.SIGCONT)

    def _strike_database(self, fault: Fault, turn: Turn, pid: int | None) -> None:
        actions = {
            "restart": lambda: self.cluster.restart_database(fault.lasts_s),
            "terminate": lambda: later(0, self.cluster.postgres.terminate_backends),
            "lock": lambda: self.cluster.lock_messages(fault.lasts_s),
        }
        self._one_at_a_time("database", actions[fault.kind], fault)

    def _strike_upstream(self, fault: Fault, turn: Turn, pid: int | None) -> Step | None:
        if fault.point in ("commit", "done") or fault.kind == "refuse":
            if fault.lets_go_early and fault.point in ("insert", "start"):
                turn.opening = respond("503 Service Unavailable", b"{}")
            else:
                self._one_at_a_time("upstream", lambda: self.cluster.take_upstream_away(min(fault.lasts_s, 1.0)), fault)
            return None
        steps = {"die": _hang_up(reset=False), "reset": _hang_up(reset=True), "stall": stall(), "garbage": event("{no json")}
        if fault.point in ("first", "middle"):
            return steps[fault.kind]
        turn.opening = steps[fault.kind]
        return None

    def _strike_client(self, fault: Fault, turn: Turn, pid: int | None) -> None:
        elsewhere = [self.cluster.ports[1 - turn.plan.node], self.cluster.ports[turn.plan.node]]
        if fault.kind == "break":
            turn.reader.disturb()
        elif fault.kind == "pause":
            turn.reader.pause(fault.lasts_s)
        elif fault.kind == "repeat":
            again = Reader(self.user, elsewhere, turn.conversation)
            turn.more_readers.append(again)
            self._begin(0, again.read, lambda user: user.send(turn.conversation, turn.prompt, headers=turn.key))
        elif fault.kind == "regenerate":
            other = Reader(self.user, elsewhere, turn.conversation)
            turn.more_readers.append(other)
            # The running reply must not end for this, although its reader may just have lost the connection.
            self._begin(
                0, lambda: other.read(lambda user: user.regenerate(turn.conversation, when_busy="reject"), retries=False)
            )
        else:
            verb = self._stop if fault.kind == "stop" else self._delete
            self._begin(0, verb, turn, [self.user.at(port) for port in elsewhere])
        if not fault.lets_go_early:
            time.sleep(HELD_S)

    def _one_at_a_time(self, victim: str, action: Callable[[], threading.Thread], fault: Fault) -> None:
        with self._lock:
            if victim in self._busy and self._busy[victim].is_alive():
                return
            self._busy[victim] = thread = action()
            self._threads.append(thread)
        # The inference service's own threads must not wait for its connections to end.
        if not fault.lets_go_early and fault.point not in ("first", "middle"):
            thread.join()

    # What clients do besides reading

    def _stop(self, turn: Turn, users: list[Client]) -> None:
        answer = self._insist(users, lambda user: user.stop(turn.conversation))
        if answer is not None and answer.status == 200:
            turn.stops.append(answer.json)

    def _delete(self, turn: Turn, users: list[Client]) -> None:
        answer = self._insist(users, lambda user: user.request("DELETE", f"/api/conversations/{turn.conversation}"))
        turn.is_deleted = answer is not None

    def _insist(self, users: list[Client], verb: Callable[[Client], Answer]) -> Answer | None:
        """Try at one node and the other until there is an answer that counts."""
        give_up_at = time.monotonic() + VERB_LIMIT_S
        while time.monotonic() < give_up_at:
            try:
                answer = verb(users[0])
                if answer.status in (200, 204, 404):
                    return answer
                if answer.json["code"] not in PASSING:
                    self.complaints.append(f"unexpected answer {answer.status} {json.dumps(answer.json)[:200]}")
                    return None
            except BROKEN:
                pass
            users.append(users.pop(0))
            time.sleep(PAUSE_S)
        self.complaints.append(f"no answer to a stop or delete in {VERB_LIMIT_S:.0f} s")
        return None


def _hang_up(*, reset: bool) -> Step:
    def step(_: Exchange) -> None:
        raise HangUp(reset=reset)

    return step
