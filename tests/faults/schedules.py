"""What happens in a schedule: a few conversations, and faults at steps of their turns. All of it follows from the seed."""

import random
from dataclasses import dataclass

from .points import POINTS

# Whom a fault hits, and how.
KINDS = {
    "worker": ("kill", "term", "freeze"),
    "database": ("restart", "terminate", "lock"),
    "upstream": ("die", "stall", "reset", "refuse", "garbage"),
    "client": ("break", "pause", "repeat", "stop", "delete", "regenerate"),
}
# Every combination of step and fault, in an order in which neighbours differ in everything.
COMBINATIONS = [(point, victim, kind) for point in POINTS for victim, kinds in KINDS.items() for kind in kinds]
random.Random(0).shuffle(COMBINATIONS)

PIECES = ("wörd ", "👩‍👩‍👧 ", "e\u0301", " plain", "\n", "日本")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong when the first turn (of those that may) reaches a point."""

    point: str
    victim: str
    kind: str
    conversation: int
    lasts_s: float
    # Whether the worker is let go before the fault is over, where that makes a difference.
    lets_go_early: bool


@dataclass(frozen=True)
class TurnPlan:
    words: tuple[str, ...]
    pause_s: float
    middle: int
    node: int
    # After how many characters its reader leaves by itself and goes on elsewhere; 0: it stays.
    leaves_after: int


@dataclass(frozen=True)
class Schedule:
    seed: int
    turns: tuple[TurnPlan, ...]
    faults: tuple[Fault, ...]

    def describe(self) -> str:
        return ", ".join(f"{fault.victim} {fault.kind} {POINTS[fault.point]}" for fault in self.faults)


def make_schedule(seed: int) -> Schedule:
    """Make the schedule of a seed: seeds that follow each other go through all combinations of step and fault."""
    chance = random.Random(seed)
    turns = tuple(_turn(chance) for _ in range(chance.choice((1, 2, 3))))
    faults = [_fault(chance, COMBINATIONS[seed % len(COMBINATIONS)], len(turns))]
    if chance.random() < 0.5:
        faults.append(_fault(chance, chance.choice(COMBINATIONS), len(turns)))
    return Schedule(seed, turns, tuple(faults))


def _turn(chance: random.Random) -> TurnPlan:
    count = chance.randint(4, 30)
    return TurnPlan(
        words=tuple(f"{number}{chance.choice(PIECES)}" for number in range(count)),
        pause_s=chance.choice((0.0, 0.01, 0.04)),
        middle=chance.randint(1, count - 1),
        node=chance.randint(0, 1),
        leaves_after=chance.choice((0, 0, chance.randint(1, 40))),
    )


def _fault(chance: random.Random, combination: tuple[str, str, str], turns: int) -> Fault:
    point, victim, kind = combination
    return Fault(
        point=point,
        victim=victim,
        kind=kind,
        conversation=chance.randrange(turns),
        # Some freezes are longer than the age at which a reply counts as abandoned.
        lasts_s=chance.choice((0.3, 1.0, 2.5 if kind == "freeze" else 1.5)),
        lets_go_early=chance.random() < 0.5,
    )
