"""The stream of a response, from its beginning or behind an event."""

from uuid import UUID

from conversations.exceptions import MessageNotFound
from conversations.models import Status
from conversations.services.replies.follow import live_transcript, read_reasoning
from conversations.surfaces.openai.queries import read_response_row
from conversations.surfaces.openai.responses import Row, response_body, started_body
from conversations.surfaces.openai.streams.events import ResponseEvents
from conversations.surfaces.openai.streams.resuming import Said, cursor_behind
from inference_proxy.replies.frames import START, Cursor
from inference_proxy.replies.streams import SSE, StreamFormat


def event_stream(reply_id: UUID, user_id: UUID, after: int = -1) -> tuple[StreamFormat, Cursor]:
    """Return the format of a response's stream behind the event with this number, and the cursor where its frames begin.

    Each stream needs its own. One query. Raises `ResponseNotFound`.
    """
    row = read_response_row(reply_id, user_id)

    def read_end() -> dict[str, object] | None:
        try:
            return response_body(read_response_row(reply_id, user_id))
        except MessageNotFound:
            return None

    start = cursor_behind(after, _read_said(row)) if after >= 0 else START
    events = ResponseEvents(
        reply_id,
        started=started_body(row),
        read_end=read_end,
        read_reasoning=lambda length: read_reasoning(reply_id, length),
        after=after,
        start=start,
    )
    return StreamFormat(SSE.media_type, events.greeting(), SSE.heartbeat, events.encode), start


def _read_said(row: Row) -> Said:
    """Return what a reply consists of: from memory, if this process makes it."""
    if (transcript := live_transcript(row["id"])) is not None:
        text, reasoning, before_text = transcript.text(), transcript.reasoning(), transcript.reasoning_before_text
        return Said(text, reasoning, before_text, has_ended=False, may_lag=False)
    is_running = row["status"] == Status.STREAMING
    return Said(row["content"], row["reasoning"], row["reasoning_before_text"], has_ended=not is_running, may_lag=is_running)
