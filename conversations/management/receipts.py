"""The receipt of a command: printed, and written to a file."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError, OutputWrapper
from django.core.serializers.json import DjangoJSONEncoder

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


def print_receipt(receipt: dict[str, Any], options: dict[str, Any], stdout: OutputWrapper, file: TextIO | None) -> None:
    """Print a receipt, with `--json` on one line, and write it to its file if it has one."""
    text = json.dumps(receipt, cls=DjangoJSONEncoder, indent=None if options["json"] else 2)
    stdout.write(text)
    if file is not None:
        _write(file, text)


def _write(file: TextIO, text: str) -> None:
    try:
        # An earlier, incomplete run may have left its receipt there.
        file.truncate(0)
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as failure:
        raise CommandError(f"Cannot write the receipt, which is printed above: {failure}") from None
