"""A reload: the old workers go on until a new one is ready."""

import contextlib
import mmap
import os
from pathlib import Path
from typing import Any


class Handover:
    """Whether a new worker is ready after a reload: memory that the master shares with its workers.

    A worker's age is its number: a newer one has a higher age.
    """

    def __init__(self) -> None:
        # The newest worker of before the last reload, and the newest one that is ready.
        self._ages = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    def note_reload(self, newest_age: int) -> None:
        self._ages[0] = newest_age

    def note_ready(self, age: int) -> None:
        self._ages[1] = max(self._ages[1], age)

    def is_awaited(self, age: int) -> bool:
        """Whether a worker is to be replaced by one that is not ready yet."""
        return age <= self._ages[0] >= self._ages[1]


# Here and not in gunicorn.conf.py, which the master reads again at each reload.
handover = Handover()


def does_master_listen(master_pid: int, listener: Any) -> bool:
    """Whether the master still has the socket that it listens on. It closes it before it ends its workers.

    Only Linux tells. Elsewhere the answer is no.
    """
    wanted = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
    with contextlib.suppress(OSError):
        return any(str(opened.readlink()) == wanted for opened in Path(f"/proc/{master_pid}/fd").iterdir())
    return False
