"""Which process this is, and whether another process of this machine is gone."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The fields of /proc/<pid>/stat behind the process's name, which may contain spaces.
STATE, START = 0, 19


@dataclass(frozen=True, slots=True)
class Process:
    """A process, as its own machine names it. `boot` is "" and `start` None where the kernel does not tell."""

    host: str
    boot: str
    pid: int
    start: int | None

    def is_gone(self, here: "Process") -> bool:
        """Whether this process is certainly gone. False if it can't be known: it may be another machine's."""
        if not self.boot or self.start is None or (self.host, self.boot) != (here.host, here.boot):
            return False
        with suppress(OSError):
            return _start_of(self.pid) != self.start
        return False


def this_process() -> Process:
    """Return the process that calls."""
    pid = os.getpid()
    start = None
    with suppress(OSError):
        start = _start_of(pid)
    return Process(host=socket.gethostname()[:255], boot=_boot(), pid=pid, start=start)


def _boot() -> str:
    """Return a text that two processes share only if they see the same process ids. Each container has ids of its own."""
    try:
        return f"{BOOT_ID.read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"[:100]
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """Return when a process started, or None if there is no such process or it has ended and waits for its parent.

    Raises `OSError` if it can't be known: this process may open no more files.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[STATE] in ("Z", "X") else int(fields[START])
