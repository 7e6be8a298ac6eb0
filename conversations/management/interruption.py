"""Stop a long command after its current batch."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
OUT_OF_TIME = 3


class Interruption:
    """Say when to stop: after SIGINT, SIGTERM or `max_seconds`. A context manager.

    The work asks between two batches, so the current batch always finishes. A second signal ends the command at once.
    """

    def __init__(self, max_seconds: float | None = None) -> None:
        self._ends_at = None if max_seconds is None else time.monotonic() + max_seconds
        self._before: dict[signal.Signals, Any] = {}
        self.signal_number: int | None = None
        self.is_out_of_time = False

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        if self.signal_number is None and self._ends_at is not None and time.monotonic() >= self._ends_at:
            self.is_out_of_time = True
        return self.signal_number is not None or self.is_out_of_time

    @property
    def exit_code(self) -> int:
        """130 or 143 after SIGINT or SIGTERM, as in a shell; 3 after `max_seconds`; else 0."""
        if self.signal_number is not None:
            return 128 + self.signal_number
        return OUT_OF_TIME if self.is_out_of_time else 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
