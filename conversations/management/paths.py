"""The files that commands write and read. Each is looked at before any work begins."""

import os
import stat
from pathlib import Path

from django.core.management.base import CommandError

WRONG_ARGUMENTS = 2


def require_writable(path: Path, what: str) -> None:
    """Refuse a path where no file can be written. `what` begins the sentence: "Cannot write the archive"."""
    problem = _problem_with(path, os.W_OK)
    if not problem and not path.exists():
        problem = f"there is no folder {path.parent}" if not path.parent.is_dir() else _right_problem(path.parent, os.W_OK)
    if problem:
        raise CommandError(f"{what}: {problem}.", returncode=WRONG_ARGUMENTS)


def require_readable(path: Path, what: str) -> None:
    """Refuse a path where no file can be read. A pipe can."""
    problem = _problem_with(path, os.R_OK)
    if not problem and not path.exists():
        problem = f"there is no file {path}"
    if problem:
        raise CommandError(f"{what}: {problem}.", returncode=WRONG_ARGUMENTS)


def _problem_with(path: Path, right: int) -> str:
    """Return what is wrong with what is there, or an empty text, also if nothing is there."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return ""
    except OSError as failure:
        # For example, the name is too long, or a part of it is a file.
        return f"{path}: {failure.strerror}"
    if stat.S_ISDIR(mode):
        return f"{path} is a folder"
    if right == os.W_OK and not stat.S_ISREG(mode):
        # A device or a pipe would be replaced by the file.
        return f"{path} is not a file"
    return _right_problem(path, right)


def _right_problem(path: Path, right: int) -> str:
    return "" if os.access(path, right) else f"no right to {'write' if right == os.W_OK else 'read'} {path}"
