"""The processes of the dev stack: started, watched and stopped by one supervisor."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 40.0
POLL_SECONDS = 0.05


class PartFailed(Exception):
    """A part did not start or has died; the text says which, and what it said last."""


def _die_with_parent() -> None:
    # Linux only: elsewhere a supervisor that is killed with -9 leaves its parts running.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Part:
    """One process with a name, a log and an end."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the supervisor, which stops the parts in order.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def wait_until(self, is_ready: Callable[[], bool], limit_s: float) -> float:
        """Wait for a condition and return the seconds it took. Raises `PartFailed` at the part's death or the limit."""
        started = time.monotonic()
        while not is_ready():
            self.check()
            if time.monotonic() - started > limit_s:
                raise PartFailed(f"{self.name} was not ready after {limit_s:.0f} s. {self.last_words()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started

    def check(self) -> None:
        """Raises `PartFailed` where the process has ended."""
        status = self.process.poll()
        if status is not None:
            raise PartFailed(f"{self.name} has ended by itself (status {status}). {self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()[-8:]
        return "Its last lines:\n" + "\n".join(f"    {line}" for line in lines) if lines else "It said nothing."

    def stop(self, hurry: Callable[[], bool]) -> None:
        """End the process, gracefully unless `hurry()` says otherwise in between."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.terminate()
        give_up_at = time.monotonic() + STOP_SECONDS
        while self.process.poll() is None and time.monotonic() < give_up_at and not hurry():
            time.sleep(POLL_SECONDS)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def can_bind(port: int) -> bool:
    with socket.socket() as listener:
        # As the server does: a connection of the last run that is still closing is no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True
