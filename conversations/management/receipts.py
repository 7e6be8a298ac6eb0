"""The file to which a command writes its receipt."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from django.core.management.base import CommandError

from conversations.management.paths import require_writable


@contextmanager
def receipt_file(path: Path | None) -> Iterator[TextIO | None]:
    """Open the file of the receipt before anything is done: afterwards a wrong path would lose it."""
    if path is None:
        yield None
        return
    require_writable(path, "Cannot write the receipt")
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
    except OSError as failure:
        raise CommandError(f"Cannot write the receipt: {failure}", returncode=2) from None
    try:
        with file:
            yield file
    finally:
        if not path.stat().st_size:
            path.unlink()


def write_receipt(file: TextIO, text: str) -> None:
    try:
        # An earlier, incomplete run may have left its receipt there.
        file.truncate(0)
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as failure:
        raise CommandError(f"Cannot write the receipt, which is printed above: {failure}") from None
