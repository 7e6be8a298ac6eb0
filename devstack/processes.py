"""The processes of `make run`: their ports, their logs, their start and end."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# Below those that systems give to outgoing connections, one of which could take a port before its server starts.
SERVERS_PORTS = range(10_240, 32_768)


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1. Processes that call it at the same moment nearly always get different ones."""
    while True:
        port = secrets.choice(SERVERS_PORTS)
        # Without SO_REUSEADDR, unlike `port_is_free`: also none that waits for the last packets of an earlier connection.
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def port_is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def listener_on(port: int) -> str:
    """Return the process that listens on a port, as `gunicorn (process 123)`, or "" if it cannot be determined."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.laddr
                and connection.laddr.port == port
                and connection.status == psutil.CONN_LISTEN
                and connection.pid
            ):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""


@dataclass
class Part:
    """One process of the dev stack. Its own process group keeps a Ctrl-C in the terminal away from it."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    grace_s: float = 5
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, folder: Path) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def exit_code(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        assert self.process is not None
        return self.process.poll()

    def stop(self, in_a_hurry: Callable[[], bool]) -> None:
        """Terminate the process. Kill it and its children after `grace_s`, or earlier if `in_a_hurry`."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        deadline = time.monotonic() + self.grace_s
        while self.process.poll() is None and time.monotonic() < deadline and not in_a_hurry():
            time.sleep(0.05)
        with suppress(ProcessLookupError, PermissionError):  # the group is empty (macOS reports PermissionError)
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def last_lines(log: Path, count: int = 12) -> list[str]:
    """Return the last lines of a log file, or [] if it does not exist."""
    if not log.exists():
        return []
    with log.open(errors="replace") as lines:
        return [line.rstrip() for line in deque(lines, count) if line.strip()]
