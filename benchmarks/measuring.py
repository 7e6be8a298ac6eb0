"""What the benchmarks measure with: a worker's CPU time and memory as the operating system counts them, and percentiles."""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def keep_apart(worker: int) -> None:
    """Give the worker a processor of its own, where there are two or more."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        for thread in Path(f"/proc/{worker}/task").iterdir():
            os.sched_setaffinity(int(thread.name), processors[:1])
        os.sched_setaffinity(0, processors[1:])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def percentile(seconds: list[float], percent: int) -> float:
    """Return a percentile of sorted numbers."""
    return seconds[min(len(seconds) - 1, len(seconds) * percent // 100)]
