"""Ask for confirmation before data is deleted."""

import select
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from django.core.management.base import CommandError, OutputWrapper

REFUSED = 2


class _Interrupted(KeyboardInterrupt):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def confirm(consequence: Callable[[], str], stream: OutputWrapper) -> None:
    """Print the consequence and ask for confirmation. Raises `CommandError` unless the answer is yes, or without a terminal."""
    if not sys.stdin.isatty():
        raise CommandError("This command asks for confirmation and there is no terminal. Add --yes.", returncode=REFUSED)
    # Commands that stop after a batch take the first signal for themselves, and the question would go on waiting.
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stream.write(consequence())
        stream.write("Continue? [y/N] ", ending="")
        stream.flush()
        _wait_for_a_line()
        answer = sys.stdin.readline()
    except _Interrupted as interruption:
        raise CommandError("Interrupted. Nothing was changed.", returncode=128 + interruption.number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Not confirmed. Nothing was changed.", returncode=REFUSED)


def _wait_for_a_line() -> None:
    """Wait for the terminal or a signal. Reading alone would miss one that comes just before, and go on waiting."""
    signalled, note = socket.socketpair()
    with signalled, note:
        note.setblocking(False)
        before = signal.set_wakeup_fd(note.fileno())
        try:
            select.select([sys.stdin, signalled], [], [])
        finally:
            signal.set_wakeup_fd(before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupted(number)
