"""Locks on files, which the kernel lets go of when their holder ends, however it ends."""

import fcntl
import os
import time
from pathlib import Path


class FileLock:
    """One process's lock on a file; it is inherited by no child process unless its descriptor is passed on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False, wait_s: float = 0) -> bool:
        """Take the lock, or turn the one held into the other kind; say whether that worked within the time given."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    self.release()
                    return False
                time.sleep(0.02)
            else:
                return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_free(self) -> bool:
        """Say whether nobody holds the lock; only for a lock that is not held here."""
        free = self.acquire(shared=True)
        self.release()
        return free

    def note(self, text: str) -> None:
        """Leave a line in the locked file for whoever finds it locked."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def read_note(self) -> str:
        return self._path.read_text()

    def descriptor(self) -> int:
        """Return the descriptor, to be passed to a child process that shall hold the lock too."""
        assert self._descriptor is not None
        return self._descriptor
