"""What happens in a schedule: a few turns, and faults at steps of theirs. All of it follows from the seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .points import POINTS

# Whom a fault hits, and how.
KINDS = {
    "worker": ("kill", "term", "freeze", "reload", "memory", "files"),
    "database": ("restart", "terminate", "lock", "hold", "break", "leases", "pause", "silence", "clock"),
    "upstream": ("die", "stall", "reset", "refuse", "garbage"),
    "client": ("break", "pause", "repeat", "stop", "delete", "regenerate"),
    "proxy": ("freeze",),
}
FAULTS = [(victim, kind) for victim, kinds in KINDS.items() for kind in kinds]
FAULT_NAMES = [f"{victim}-{kind}" for victim, kind in FAULTS]

PIECES = ("wörd ", "👩‍👩‍👧 ", "e\u0301", " plain", "\n", "日本")
FEWEST_WORDS = 8
# Longer than it takes until a reply without heartbeats counts as abandoned, and than replies run on at a shutdown.
LONG_REPLY_S = 3.0
# Faults that matter only to a reply that is still running for a while.
NEED_TIME = {"kill", "term", "freeze", "reload", "restart", "lock", "hold", "leases", "pause", "silence", "clock"}
# Trouble of the database that ends no process and breaks no connection: no reply with words is interrupted for it.
NO_DEATH = {"lock", "hold", "leases", "pause", "silence", "clock"}
# Most of these last longer than the age at which a silent worker counts as dead.
LONG_FAULTS = {"freeze", "lock", "hold", "leases", "pause", "silence"}
STEPS_WITH_TIME = ("insert", "start", "first", "middle")


def _combinations() -> list[tuple[str, str, str]]:
    """List every fault at every step: each round has every fault once, at a step that moves on from round to round."""
    order = random.Random(0)
    points = list(POINTS)
    found = []
    for shift in range(len(points)):
        in_this_round = [(points[(number + shift) % len(points)], *fault) for number, fault in enumerate(FAULTS)]
        order.shuffle(in_this_round)
        found += in_this_round
    return found


COMBINATIONS = _combinations()


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong when a turn reaches a point for the first time."""

    point: str
    victim: str
    kind: str
    turn: int
    lasts_s: float
    # Whether the worker is let go before the fault is over, where that makes a difference.
    lets_go_early: bool


@dataclass(frozen=True)
class TurnPlan:
    words: tuple[str, ...]
    # What the model thinks before each word, all "" for a model that does not think.
    thoughts: tuple[str, ...]
    lasts_s: float
    middle: int
    node: int
    # After how many characters its reader leaves by itself, again and again; 0: it stays.
    leaves_after: int
    # Whether a reader that left comes back to the same node.
    comes_back: bool
    # Whether a second client reads the reply at the other node from its start.
    is_watched: bool
    # How long the worker waits before it saves the reply.
    commit_held_s: float
    # Whether a checkpoint is held up until its reply has ended.
    has_late_checkpoint: bool
    # What the client does when it reads `done`: "" for nothing, repeat the send, ask the next question, or regenerate.
    then: str
    # How the model answers when asked again: "" for as before, or how it fails.
    second_answer: str
    # Whether another message waits for the end of the reply.
    is_awaited: bool = False

    @property
    def pause_s(self) -> float:
        """How long the model takes for each word."""
        return self.lasts_s / len(self.words)


@dataclass(frozen=True)
class Schedule:
    seed: int
    turns: tuple[TurnPlan, ...]
    faults: tuple[Fault, ...]
    # Whether a reply that broke off before is continued meanwhile.
    is_continued: bool = False

    def describe(self) -> str:
        return ", ".join(f"{fault.victim} {fault.kind} {POINTS[fault.point]}" for fault in self.faults)


def seeds_of(fault: str, count: int) -> list[int]:
    """Return the first seeds that begin with this one of `FAULT_NAMES`. Seven in a row strike at all steps of a turn."""
    in_a_row = [seed for seed, (_, victim, kind) in enumerate(COMBINATIONS) if f"{victim}-{kind}" == fault]
    return [in_a_row[number % len(in_a_row)] + number // len(in_a_row) * len(COMBINATIONS) for number in range(count)]


def make_schedule(seed: int) -> Schedule:
    """Make the schedule of a seed: seeds that follow each other go through all combinations of step and fault."""
    chance = random.Random(seed)
    turns = [_turn(chance) for _ in range(chance.choice((1, 2, 3)))]
    faults = [_fault(chance, COMBINATIONS[seed % len(COMBINATIONS)], len(turns))]
    if chance.random() < 0.5:
        faults.append(_fault(chance, chance.choice(COMBINATIONS), len(turns)))
    if any(fault.kind == "hold" for fault in faults):
        # At the node with one worker, which makes them all.
        turns = [replace(turn, node=0, lasts_s=LONG_REPLY_S) for turn in (turns if len(turns) > 1 else [*turns, _turn(chance)])]
    for fault in faults:
        if fault.kind in NEED_TIME and fault.point in STEPS_WITH_TIME:
            turns[fault.turn] = replace(turns[fault.turn], lasts_s=LONG_REPLY_S)
    # By a chance of its own, so that the rest of a schedule stays as it was.
    is_continued = random.Random(f"continue {seed}").random() < 0.4
    return Schedule(seed, tuple(_with_queues(seed, turns, faults)), tuple(faults), is_continued)


def _with_queues(seed: int, turns: list[TurnPlan], faults: list[Fault]) -> Iterator[TurnPlan]:
    """Have a message wait behind some of the turns. By another chance, so that the rest of a schedule stays as it was.

    Not where a client stops the reply: then the message is kept for the next send.
    """
    chance = random.Random(f"queue {seed}")
    stopped = {fault.turn for fault in faults if fault.kind == "stop"}
    for number, turn in enumerate(turns):
        is_awaited = chance.random() < 0.4 and number not in stopped
        yield replace(turn, is_awaited=True, then="") if is_awaited else turn


def _turn(chance: random.Random) -> TurnPlan:
    count = chance.randint(FEWEST_WORDS, 30)
    return TurnPlan(
        words=tuple(f"{number}{chance.choice(PIECES)}" for number in range(count)),
        thoughts=tuple(f"({number}🎈)" if count % 2 else "" for number in range(count)),
        lasts_s=chance.choice((0.0, 0.3, 1.0, LONG_REPLY_S)),
        middle=chance.randint(1, count // 2),
        node=chance.randint(0, 1),
        leaves_after=chance.choice((0, chance.randint(1, 40))),
        comes_back=chance.random() < 0.5,
        is_watched=chance.random() < 0.5,
        commit_held_s=chance.choice((0.0, 0.0, 0.2)),
        has_late_checkpoint=chance.random() < 0.3,
        then=chance.choice(("", "repeat", "ask", "regenerate")),
        second_answer=chance.choice(("", "refuse", "die", "empty")),
    )


def _fault(chance: random.Random, combination: tuple[str, str, str], turns: int) -> Fault:
    point, victim, kind = combination
    return Fault(
        point=point,
        victim=victim,
        kind=kind,
        turn=chance.randrange(turns),
        lasts_s=chance.choice((0.3, LONG_REPLY_S, LONG_REPLY_S) if kind in LONG_FAULTS else (0.3, 1.0, 1.5)),
        lets_go_early=chance.random() < 0.5,
    )
