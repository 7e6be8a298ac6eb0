"""What an export of any application is read into, before it becomes rows: a conversation and the nodes of its tree."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from conversations.models import Role, Status
from inference_proxy.protocols.event_values import without_unstorable

# Node ids and names come from the file. What is printed of them is short, and shows no control sequences.
MAX_NAME_SHOWN = 40
# Times before this, or in the future, are taken for unknown.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
# Seconds of today have ten digits. Larger numbers are milliseconds, microseconds or nanoseconds.
LARGEST_SECONDS = 100_000_000_000
LARGEST_NUMBER = LARGEST_SECONDS * 10**9
FENCES = re.compile("`{3,}")


class UnreadableChat(Exception):
    """A conversation that can't be read. `path` says where in it. The text never quotes what a user wrote."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.path = path


@dataclass(slots=True)
class Node:
    """A message of another application. With `role` None it is not shown, and what follows it follows its parent."""

    parent: str | None
    role: Role | None
    text: str = ""
    reasoning: str = ""
    said_at: datetime | None = None
    model: str | None = None
    status: Status = Status.COMPLETE
    finish_reason: str | None = None


@dataclass(slots=True)
class Chat:
    """A conversation of another application. `nodes` are in the order of the file; `current` is the last one that is shown."""

    id: str
    title: str
    created_at: datetime | None
    updated_at: datetime | None
    nodes: dict[str, Node]
    current: str | None = None
    is_archived: bool = False
    is_favorited: bool = False
    tags: list[str] = field(default_factory=list)


def read_object(value: Any, path: str) -> dict[str, Any]:
    """Raises `UnreadableChat`."""
    if not isinstance(value, dict):
        raise UnreadableChat("it is not an object", path)
    return value


def objects(value: Any) -> Iterable[dict[str, Any]]:
    """Return the objects in a list; nothing if it is no list."""
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def child(value: Any, name: str) -> dict[str, Any]:
    """Return the object below a name, empty if there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def read_text(value: Any) -> str:
    """Return a text as the database can store it; empty if the value is no text."""
    return without_unstorable(value) if isinstance(value, str) else ""


def first_text(*values: Any) -> str:
    return next((text for value in values if (text := read_text(value).strip())), "")


def read_time(value: Any) -> datetime | None:
    """Read Unix time in any unit, or ISO 8601. None if it is unknown or impossible."""
    moment: datetime | None = None
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            if not 0 <= value <= LARGEST_NUMBER:
                return None
            seconds = Decimal(value)
            while seconds > LARGEST_SECONDS:
                seconds /= 1000
            moment = datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(seconds % 1 * 1_000_000))
        is_possible = moment is not None and EARLIEST <= moment <= datetime.now(UTC) + timedelta(days=1)
        return moment.astimezone(UTC) if moment is not None and is_possible else None
    except (ValueError, OverflowError, ArithmeticError, OSError):
        return None


def attachment(name: Any, kind: str = "file") -> str:
    """Return the line that names what can't come along."""
    shown = " ".join(read_text(name).split())[:200]
    return f"[Attachment: {shown or kind}]"


def joined(pieces: Iterable[str]) -> str:
    """Join paragraphs, without the empty ones."""
    return "\n\n".join(piece for piece in pieces if piece.strip())


def fenced(text: str, language: str = "") -> str:
    """Return text as a block of code in Markdown, whatever fences it has itself."""
    if not text.strip():
        return ""
    longest = max(map(len, FENCES.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def shown_name(name: str) -> str:
    return ascii(name[:MAX_NAME_SHOWN])[1:-1]
