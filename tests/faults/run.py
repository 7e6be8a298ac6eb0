"""Play hundreds of seeded schedules of faults and check after each that the promise held.

python -m tests.faults.run [--schedules 500] [--first 0] [--seed 17] [--fault database-pause]
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .cluster import Cluster
from .invariants import violations
from .playing import Play
from .points import POINTS
from .schedules import FAULT_NAMES, KINDS, make_schedule, seeds_of
from .violation import Violation

# Of a column of the table: the longest name of a point and a space.
WIDTH = 11
MOST_OF_ONE_FAULT = 35


class Suite:
    """A cluster, the schedules played on it, and the tally."""

    def __init__(self, defect: str = "") -> None:
        self.cluster = Cluster(self._on_point, defect)
        self.faults: Counter[tuple[str, str, str]] = Counter()
        self.failed: dict[int, list[Violation]] = {}
        self.schedules = 0
        self._play: Play | None = None

    def _on_point(self, point: str, subject: str, pid: int) -> None:
        if self._play is not None:
            self._play.reach(point, subject, pid)

    def play(self, seed: int) -> list[Violation]:
        """Play one schedule and return its violations."""
        self._play = play = Play(make_schedule(seed), self.cluster)
        play.run()
        found = violations(play)
        self.cluster.upstream.reset()
        self.schedules += 1
        self.faults.update((fault.point, fault.victim, fault.kind) for fault in play.struck)
        if found:
            self.failed[seed] = found
        return found

    def table(self) -> str:
        """Tell how many faults of each kind struck at each step."""
        lines = [f"{'fault':<22}" + "".join(f"{point:>{WIDTH}}" for point in POINTS) + f"{'in all':>{WIDTH}}"]
        for victim, kinds in KINDS.items():
            for kind in kinds:
                counts = [self.faults[point, victim, kind] for point in POINTS]
                lines.append(f"{victim + ': ' + kind:<22}" + "".join(f"{count:>{WIDTH}}" for count in [*counts, sum(counts)]))
        missed = sum(not self.faults[point, victim, kind] for point in POINTS for victim in KINDS for kind in KINDS[victim])
        lines.append(
            f"\nschedules: {self.schedules}   faults: {self.faults.total()}   combinations never met: {missed}"
            f"   schedules with violations: {len(self.failed)}"
        )
        return "\n".join(lines)


@contextmanager
def running_suite(defect: str = "") -> Iterator[Suite]:
    suite = Suite(defect)
    with suite.cluster:
        yield suite


def main() -> int:
    parser = argparse.ArgumentParser(description="Break the service in every way, again and again.")
    parser.add_argument("--schedules", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one schedule")
    parser.add_argument("--fault", choices=FAULT_NAMES, help="play this fault, at every step in turn")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.schedules) if options.seed is None else [options.seed]
    if options.fault:
        seeds = seeds_of(options.fault, min(options.schedules, MOST_OF_ONE_FAULT))
    with running_suite() as suite:
        for seed in seeds:
            started = time.monotonic()
            found = suite.play(seed)
            verdict = "VIOLATED" if found else "held"
            print(f"{seed:>5}  {time.monotonic() - started:5.1f} s  {verdict}  {make_schedule(seed).describe()}", flush=True)
            for problem in found:
                print(f"         {problem}", flush=True)
    print(f"\n{suite.table()}")
    if suite.failed:
        print("Play one alone with: make faults SEED=…   Seeds: " + " ".join(map(str, suite.failed)))
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
