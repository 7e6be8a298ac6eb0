"""Measure what the suite can find: play schedules against each deliberate defect until an invariant breaks.

python -m tests.faults.power [--schedules 60] [--fault database-pause] [DEFECT …]
"""

import argparse
import sys
import time
from collections.abc import Sequence

from .defects import DEFECTS
from .run import running_suite
from .schedules import FAULT_NAMES, seeds_of

SCHEDULES = 60


def main() -> int:
    parser = argparse.ArgumentParser(description="Show that the fault suite finds deliberate defects.")
    parser.add_argument("defects", nargs="*", metavar="DEFECT", help=f"of {', '.join(DEFECTS)}; without any: all")
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help="the most for each defect")
    parser.add_argument("--fault", choices=FAULT_NAMES, help="play only this fault, at every step")
    options = parser.parse_args()
    seeds = seeds_of(options.fault, options.schedules) if options.fault else range(options.schedules)
    if unknown := set(options.defects) - set(DEFECTS):
        parser.error(f"no such defect: {', '.join(sorted(unknown))}")
    missed = 0
    print("| defect | found by | after |\n| --- | --- | --- |")
    for name in options.defects or DEFECTS:
        began = time.monotonic()
        by, after = find(name, seeds)
        missed += not by
        print(f"| {DEFECTS[name].summary} (`{name}`) | {by or 'nothing'} | {after} |", flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 1 if missed else 0


def find(name: str, seeds: Sequence[int]) -> tuple[str, int]:
    """Return the invariants that break first with a defect, and how many schedules that takes."""
    with running_suite(name) as suite:
        for played, seed in enumerate(seeds, 1):
            found = suite.play(seed)
            if found:
                for violation in found:
                    print(f"{name}, schedule {seed}: {violation}", file=sys.stderr, flush=True)
                return ", ".join(dict.fromkeys(violation.invariant for violation in found)), played
    return "", len(seeds)


if __name__ == "__main__":
    sys.exit(main())
