"""What clients see in place of a null: no surface sends one where the predecessor's rows, or a running reply, have it."""

from datetime import UTC, datetime
from typing import Any

from conversations.models import DEFAULT_TITLE

# The predecessor allowed rows without a time; no client expects one.
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def conversation_json(row: dict[str, Any]) -> dict[str, Any]:
    """Shape a row of conversations: with title, model_tag and both times, whatever else it holds."""
    return {
        **row,
        "title": row["title"] or DEFAULT_TITLE,
        "model_tag": row["model_tag"] or "",
        "created_at": row["created_at"] or row["updated_at"] or UNKNOWN_TIME,
        "updated_at": row["updated_at"] or row["created_at"] or UNKNOWN_TIME,
    }


def message_json(row: dict[str, Any]) -> dict[str, Any]:
    """Shape a row of messages: with token_count, model_tag, inference_time_ms and created_at, whatever else it holds."""
    return {
        **row,
        "token_count": row["token_count"] or 0,
        "model_tag": row["model_tag"] or "",
        "inference_time_ms": row["inference_time_ms"] or 0,
        "created_at": row["created_at"] or UNKNOWN_TIME,
    }
