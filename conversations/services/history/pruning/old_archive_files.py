"""Delete archive files that nothing was added to for long.

Only files that begin like ours are deleted, and none with a user or a conversation on hold. A file that a run is writing is
left alone.
"""

import fcntl
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from conversations.ids import parse_id
from conversations.services.history.files.archive_file_ends import ArchiveProblem
from conversations.services.history.files.json_lines import CONVERSATION
from conversations.services.history.files.reading import HistoryLines, ImportProblem, unpacked
from conversations.services.history.files.seals import HEADER_BEGINNING, MESSAGE_BEGINNING
from conversations.services.history.holds import in_force
from conversations.services.history.pruning.scrub import read_line

ENDINGS = (".jsonl", ".jsonl.gz")
LINES_BETWEEN_QUESTIONS = 5_000


@dataclass(slots=True)
class OldArchiveFiles:
    files: int = 0
    size: int = 0
    on_hold: int = 0
    is_complete: bool = False


def delete_old_archive_files(
    *, folder: Path, before: datetime, is_dry_run: bool = False, should_stop: Callable[[], bool] = lambda: False
) -> OldArchiveFiles:
    """Delete, or count, the archives of a folder whose last change was before that time. Raises `OSError`."""
    result = OldArchiveFiles()
    holds = list(in_force().values_list("user_id", "conversation_id"))
    for path in sorted(folder.iterdir()):
        if should_stop():
            return result
        if not path.name.endswith(ENDINGS) or path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as raw:
            state = os.fstat(raw.fileno())
            if state.st_mtime >= before.timestamp() or not _is_free(raw) or not _is_ours(raw):
                continue
            is_held = _has_held(raw, holds, should_stop) if holds else False
            if is_held is None:
                return result
            if is_held:
                result.on_hold += 1
                continue
            if not is_dry_run:
                path.unlink()
        result.files += 1
        result.size += state.st_size
    result.is_complete = True
    return result


def _is_free(raw: io.BufferedReader) -> bool:
    """Lock the file until it is closed. Return whether no run is writing it."""
    try:
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_ours(raw: io.BufferedReader) -> bool:
    try:
        beginning = unpacked(raw).readline(len(HEADER_BEGINNING))
    except (OSError, EOFError):
        return False
    return beginning == HEADER_BEGINNING


def _has_held(
    raw: io.BufferedReader, holds: list[tuple[UUID | None, UUID | None]], should_stop: Callable[[], bool]
) -> bool | None:
    """Return whether the file has something on hold, as far as it can be read. None: this was stopped."""
    raw.seek(0)
    users, conversations = {one for one, _ in holds if one}, {one for _, one in holds if one}
    try:
        for number, line in HistoryLines(unpacked(raw)):
            if number % LINES_BETWEEN_QUESTIONS == 0 and should_stop():
                return None
            if line.startswith(MESSAGE_BEGINNING):
                continue
            kind, values = read_line(number, line)
            owner = parse_id(str(values.get("user_id")))
            if owner in users or (kind == CONVERSATION and UUID(values["id"]) in conversations):
                return True
    except (ImportProblem, ArchiveProblem):
        # What can't be read may be about someone on hold.
        return True
    return False
