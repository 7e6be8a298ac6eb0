"""What the benchmarks measure with: CPU time and memory of processes as the operating system counts them, and percentiles."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# The processors that this process may use, before it is pinned to some of them.
PROCESSORS = sorted(os.sched_getaffinity(0))
SERVER_PROCESSOR = PROCESSORS[0]
# The processors of the load generator, the test services and PostgreSQL. A single processor is shared by all.
LOAD_PROCESSORS = PROCESSORS[1:] or PROCESSORS


# What a process started by root takes, so that other work on the machine changes the figures less.
PRECEDENCE = -10


def take_load_processors() -> None:
    """Leave the first processor to the server that is measured. Processes that this one starts inherit it."""
    os.sched_setaffinity(0, LOAD_PROCESSORS)
    take_precedence(os.getpid())


def pin(pid: int, processors: Iterable[int]) -> None:
    """Bind a process with all its threads to processors, and let it go first there."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), processors)
    take_precedence(pid)


def take_precedence(pid: int) -> None:
    """Let a process go before other work on the machine, where that is allowed.

    Linux shares processors between sessions first (its "autogroups"), and between the processes of a session by priority.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, PRECEDENCE)
        Path(f"/proc/{pid}/autogroup").write_text(str(PRECEDENCE))


def cpu_seconds(*pids: int) -> float:
    """Return the user and system time of processes, in nanoseconds of resolution where the kernel counts them so."""
    return sum(_cpu_seconds(pid) for pid in pids)


def _cpu_seconds(pid: int) -> float:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except OSError:  # this kernel has no schedstat, or a thread has just ended
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def idle_seconds(processors: Sequence[int]) -> float:
    """Return how long processors have been idle, in all, since the machine started."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    names = {f"cpu{number}" for number in processors}
    return sum(int(line[4]) + int(line[5]) for line in lines if line and line[0] in names) / TICKS_PER_S


def resident_bytes(*pids: int) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * os.sysconf("SC_PAGE_SIZE")


def percentile(numbers: Sequence[float], percent: int) -> float:
    """Return a percentile of sorted numbers."""
    return numbers[min(len(numbers) - 1, len(numbers) * percent // 100)]
