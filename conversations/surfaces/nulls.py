"""What clients see in place of a null: no surface sends one where the predecessor's rows, or a running reply, have it."""

from datetime import UTC, datetime
from typing import Any

from chatapi.timestamps import OutOfRangeTime
from conversations.models import DEFAULT_TITLE

# The predecessor allowed rows without a time, or with one that no client can read; no client expects one.
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def known_time(*times: datetime | None) -> datetime:
    """Return the first of these times that a client can read, or the one that stands in for unknown times."""
    known = (time for time in times if time is not None and not isinstance(time, OutOfRangeTime))
    return next(known, UNKNOWN_TIME)


def conversation_json(row: dict[str, Any]) -> dict[str, Any]:
    """Shape a row of conversations: with title, model_tag and both times, whatever else it holds."""
    return {
        **row,
        "title": row["title"] or DEFAULT_TITLE,
        "model_tag": row["model_tag"] or "",
        "created_at": known_time(row["created_at"], row["updated_at"]),
        "updated_at": known_time(row["updated_at"], row["created_at"]),
    }


def message_json(row: dict[str, Any]) -> dict[str, Any]:
    """Shape a row of messages: with token_count, model_tag, inference_time_ms and created_at, whatever else it holds."""
    return {
        **row,
        "token_count": row["token_count"] or 0,
        "model_tag": row["model_tag"] or "",
        "inference_time_ms": row["inference_time_ms"] or 0,
        "created_at": known_time(row["created_at"]),
    }
