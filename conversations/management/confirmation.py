"""Ask for confirmation before data is deleted."""

import signal
import sys
from collections.abc import Callable

from django.core.management.base import CommandError, OutputWrapper

REFUSED = 2


def confirm(consequence: Callable[[], str], stream: OutputWrapper) -> None:
    """Print the consequence and ask for confirmation. Raises `CommandError` unless the answer is yes, or without a terminal."""
    if not sys.stdin.isatty():
        raise CommandError("This command asks for confirmation and there is no terminal. Add --yes.", returncode=REFUSED)
    stream.write(consequence())
    # Commands that stop after a batch take the first signal for themselves, and the question would go on waiting.
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stream.write("Continue? [y/N] ", ending="")
        stream.flush()
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        raise CommandError("Interrupted. Nothing was changed.", returncode=128 + signal.SIGINT) from None
    finally:
        signal.signal(signal.SIGINT, before)
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Not confirmed. Nothing was changed.", returncode=REFUSED)
