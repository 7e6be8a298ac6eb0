"""The stream of a response, from its beginning or behind an event."""

from uuid import UUID

from rest_framework.exceptions import ValidationError

from conversations.exceptions import MessageNotFound
from conversations.services.replies.follow import read_reasoning
from conversations.surfaces.openai.events import ResponseEvents
from conversations.surfaces.openai.queries import read_response_row
from conversations.surfaces.openai.responses import response_body, started_body
from inference_proxy.replies.frames import Cursor
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

    try:
        events = ResponseEvents(
            reply_id,
            started=started_body(row),
            read_end=read_end,
            read_reasoning=lambda length: read_reasoning(reply_id, length),
            after=after,
        )
    except ValueError:
        raise ValidationError({"starting_after": ["Must be the sequence_number of an event of this response."]}) from None
    return StreamFormat(SSE.media_type, events.greeting(), SSE.heartbeat, events.encode), events.cursor
