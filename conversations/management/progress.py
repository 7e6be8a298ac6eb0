"""Progress of a long command: a bar on a terminal, otherwise a line every 10 seconds."""

import time
from types import TracebackType
from typing import IO, Any, Self, cast

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0


class ProgressReport:
    """Report progress on standard error. A context manager."""

    def __init__(self, what: str, stream: OutputWrapper, *, total: int | None, is_silent: bool) -> None:
        self._what = what
        self._stream = stream
        self._total = total
        self._is_silent = is_silent
        self._done = 0
        self._started_at = self._said_at = time.monotonic()
        self._bar: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._stream.isatty() and not self._is_silent:
            rate = TextColumn("{task.fields[rate]}")
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(file=cast(IO[str], self._stream._out), stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total, rate="")
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def reach(self, done: int) -> None:
        """Report how many are done in total."""
        self._done = done
        now = time.monotonic()
        rate = f"{done / max(now - self._started_at, 0.001):,.0f}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=rate)
        elif not self._is_silent and now - self._said_at >= LINE_SECONDS:
            self._said_at = now
            self._stream.write(f"{self._what}: {done:,}{f' of {self._total:,}' if self._total else ''}, {rate}")

    def advance(self, count: int) -> None:
        """Report how many more are done."""
        self.reach(self._done + count)
