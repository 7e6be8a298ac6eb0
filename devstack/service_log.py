"""The part of the service's JSON log that the terminal shows."""

import json
import time
from pathlib import Path

LEVELS_SHOWN = ("WARNING", "ERROR", "CRITICAL")


class LogFollower:
    """Read the new lines of a growing log file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = 0

    def new_lines(self) -> list[str]:
        """Return the complete lines since the last call."""
        with self._log.open("rb") as file:
            file.seek(self._position)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.decode(errors="replace").splitlines()


def for_terminal(line: str, *, everything: bool) -> str:
    """Return a log line for the terminal: unchanged with `everything`, else a short form of warnings and worse, or ""."""
    if everything:
        return line
    try:
        entry = json.loads(line)
        if entry["level"] not in LEVELS_SHOWN:
            return ""
        cause = f" ({entry['error']})" if entry.get("error") else ""
        return f"{time.strftime('%H:%M:%S')} {entry['level']} {entry['message']}{cause}"
    except (ValueError, KeyError, TypeError):
        return line  # not JSON: a crash before logging was configured
