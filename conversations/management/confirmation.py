"""Ask for confirmation before data is deleted."""

import sys
from collections.abc import Callable

from django.core.management.base import CommandError, OutputWrapper

REFUSED = 2


def confirm(consequence: Callable[[], str], stream: OutputWrapper) -> None:
    """Print the consequence and ask for confirmation. Raises `CommandError` unless the answer is yes, or without a terminal."""
    if not sys.stdin.isatty():
        raise CommandError("This command asks for confirmation and there is no terminal. Add --yes.", returncode=REFUSED)
    stream.write(consequence())
    stream.write("Continue? [y/N] ", ending="")
    stream.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("Not confirmed. Nothing was changed.", returncode=REFUSED)
