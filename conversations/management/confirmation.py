"""Asking before something is gone for good."""

import sys
from collections.abc import Callable

from django.core.management.base import CommandError, OutputWrapper

REFUSED = 2


def confirm(consequence: Callable[[], str], stream: OutputWrapper) -> None:
    """Ask on a terminal, saying what will happen. Raises `CommandError` for any answer but yes, and where nobody can answer."""
    if not sys.stdin.isatty():
        raise CommandError("Nobody can be asked here: add --yes", returncode=REFUSED)
    stream.write(consequence())
    stream.write("Go on? [y/N] ", ending="")
    stream.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was changed", returncode=REFUSED)
