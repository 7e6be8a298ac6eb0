"""What a person at the terminal sees of the service's JSON log."""

import json
import time
from pathlib import Path

LEVELS_SHOWN = ("WARNING", "ERROR", "CRITICAL")


class LogFollower:
    """Reads the lines that a growing log file got since the last time."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = 0

    def new_lines(self) -> list[str]:
        """Return the complete lines that were added."""
        with self._log.open("rb") as file:
            file.seek(self._position)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.decode(errors="replace").splitlines()


def for_terminal(line: str, *, everything: bool) -> str:
    """Return a log line as it is shown: all as they are, or warnings and worse in short; empty if not at all."""
    if everything:
        return line
    try:
        entry = json.loads(line)
        if entry["level"] not in LEVELS_SHOWN:
            return ""
        cause = f" ({entry['error']})" if entry.get("error") else ""
        return f"{time.strftime('%H:%M:%S')} {entry['level']} {entry['message']}{cause}"
    except (ValueError, KeyError, TypeError):
        return line  # no JSON: a crash before logging was set up
