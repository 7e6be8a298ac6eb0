"""Rewrite an archive without one person. The result is a whole new file, or the old one.

Principle: nothing is changed in place. The first reading finds out whether the file is whole and which conversations are the
person's. The second writes all other lines to a file beside it, which is read once more and then takes the name. What fails in
between, a full disk for example, leaves the old file. The lock of the archive is held, so no run appends to it meanwhile.
"""

import fcntl
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from conversations.exceptions import OnHold
from conversations.ids import parse_id
from conversations.services.history.files.archive_file import ArchiveFile, problem_with_name, sync_folder
from conversations.services.history.files.archive_file_ends import ArchiveProblem
from conversations.services.history.files.json_lines import CONVERSATION, INSTRUCTIONS, MESSAGE
from conversations.services.history.files.reading import HistoryLines, ImportProblem, inspect_file, unpacked
from conversations.services.history.files.seals import Condition
from conversations.services.history.holds import in_force

LINES_PER_BATCH = 5_000
REFUSALS = {
    Condition.CUT: "the file ends before its end: it was cut, or the run that wrote it was killed",
    Condition.CHANGED: "the file was changed or is damaged: its last line counts other rows",
}


@dataclass(slots=True)
class ScrubResult:
    """How many lines were read, kept and left out. It contains nothing of their content."""

    conversations: int = 0
    messages: int = 0
    instructions: int = 0
    lines_kept: int = 0
    lines_read: int = 0
    # Whether the file was whole, or unmarked: then nothing shows whether it had all its rows before.
    condition: Condition = Condition.CUT
    is_complete: bool = False

    @property
    def left_out(self) -> int:
        return self.conversations + self.messages + self.instructions


def scrub_archive(
    *,
    path: Path,
    user_id: UUID,
    is_dry_run: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_lines: Callable[[ScrubResult], None] = lambda result: None,
) -> ScrubResult:
    """Leave out a user's conversations with their messages, and the user's instructions. A file without them is not changed.

    Stopped early, it changes nothing. Raises `ArchiveProblem`, `OnHold`, `OSError`.
    """
    if problem := problem_with_name(path):
        raise ArchiveProblem(problem)
    result = ScrubResult()
    try:
        with path.open("rb") as raw:
            _lock(raw, path)
            theirs = _conversations_of(raw, user_id, result, should_stop)
            if theirs is None:
                return result
            _refuse_held(user_id, theirs)
            pieces = _Sieve(user_id, theirs, result)
            if is_dry_run:
                raw.seek(0)
                for _ in pieces.kept(raw):
                    if should_stop():
                        return result
                result.is_complete = True
                return result
            if _rewrite(raw, path, pieces, should_stop, on_lines):
                result.is_complete = True
    except ImportProblem as failure:
        raise ArchiveProblem(str(failure)) from None
    return result


def _lock(raw: io.BufferedReader, path: Path) -> None:
    try:
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ArchiveProblem(f"another run is writing {path}") from None


def _conversations_of(
    raw: io.BufferedReader, user_id: UUID, result: ScrubResult, should_stop: Callable[[], bool]
) -> set[bytes] | None:
    """Return the ids of the user's conversations, or None if this was stopped. 16 bytes and some for each are in memory."""
    lines = HistoryLines(unpacked(raw))
    theirs: set[bytes] = set()
    for number, line in lines:
        if number % LINES_PER_BATCH == 0 and should_stop():
            return None
        kind, values = read_line(number, line)
        if kind == CONVERSATION and parse_id(str(values.get("user_id"))) == user_id:
            theirs.add(UUID(values["id"]).bytes)
    result.condition = lines.condition
    if refusal := REFUSALS.get(lines.condition):
        raise ArchiveProblem(refusal)
    return theirs


def _refuse_held(user_id: UUID, theirs: set[bytes]) -> None:
    """Raise `OnHold` if the user or one of these conversations is on hold, whether the database still has it or not."""
    for held_user, conversation in in_force().values_list("user_id", "conversation_id").iterator():
        if held_user == user_id or (conversation is not None and conversation.bytes in theirs):
            raise OnHold


class _Sieve:
    """Which lines stay. A conversation that was archived again under another owner is that one's from its line on."""

    def __init__(self, user_id: UUID, theirs: set[bytes], result: ScrubResult) -> None:
        self.result = result
        self._user_id = user_id
        self._theirs = theirs
        self._others: set[bytes] = set()

    def kept(self, raw: io.BufferedReader) -> Iterator[bytes]:
        for number, line in HistoryLines(unpacked(raw)):
            self.result.lines_read += 1
            if self._stays(*read_line(number, line)):
                self.result.lines_kept += 1
                yield line

    def _stays(self, kind: str, values: dict[str, Any]) -> bool:
        if kind == INSTRUCTIONS:
            stays = parse_id(str(values.get("user_id"))) != self._user_id
            self.result.instructions += not stays
            return stays
        conversation_id = UUID(values["id" if kind == CONVERSATION else "conversation_id"]).bytes
        if kind == CONVERSATION and conversation_id in self._theirs:
            is_theirs = parse_id(str(values.get("user_id"))) == self._user_id
            (self._others.discard if is_theirs else self._others.add)(conversation_id)
        stays = conversation_id not in self._theirs or conversation_id in self._others
        if kind == CONVERSATION:
            self.result.conversations += not stays
        else:
            self.result.messages += not stays
        return stays


def _rewrite(
    raw: io.BufferedReader,
    path: Path,
    sieve: _Sieve,
    should_stop: Callable[[], bool],
    on_lines: Callable[[ScrubResult], None],
) -> bool:
    """Write what stays beside the file, and give it the file's name. Return False if this was stopped."""
    ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=ending)
    os.close(descriptor)
    made = Path(name)
    try:
        raw.seek(0)
        lines = sieve.kept(raw)
        with ArchiveFile(made) as archive:
            while batch := [line for line, _ in zip(lines, range(LINES_PER_BATCH), strict=False)]:
                if should_stop():
                    return False
                with archive.batch(batch):
                    on_lines(sieve.result)
        if not sieve.result.left_out:
            return True
        _check(made, sieve.result)
        made.chmod(path.stat().st_mode & 0o777)
        made.replace(path)
        sync_folder(path.parent)
        return True
    finally:
        made.unlink(missing_ok=True)


def _check(made: Path, result: ScrubResult) -> None:
    """Read what was written once more: the old file is gone in a moment."""
    found = inspect_file(str(made))
    if found.condition is not Condition.WHOLE:
        raise ArchiveProblem("what was written can't be read again")


def read_line(number: int, line: bytes) -> tuple[str, dict[str, Any]]:
    """Return the kind of a row and its values. Raises `ArchiveProblem`."""
    try:
        ((kind, values),) = orjson.loads(line).items()
        if kind not in (CONVERSATION, MESSAGE, INSTRUCTIONS) or not isinstance(values, dict):
            raise ValueError(kind)
        if kind != INSTRUCTIONS:
            UUID(values["id" if kind == CONVERSATION else "conversation_id"])
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise ArchiveProblem(f"line {number} is not a line of an export or an archive") from None
    return kind, values
