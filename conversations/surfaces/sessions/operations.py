"""OpenAPI descriptions of the session surface."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from chatapi.api.openapi import BearerScheme
from conversations.surfaces.openapi import (
    CURSOR,
    GUARDED,
    IDEMPOTENCY_KEY,
    JSON,
    LINK,
    NDJSON_EXAMPLES,
    RESUMED,
    SEND_ERRORS,
    SSE_EXAMPLES,
    STREAMS,
    errors,
    example,
    limit,
    operation,
)
from conversations.surfaces.sessions import requests, responses

TAG = "sessions"
SESSION = OpenApiParameter(
    "session_id", OpenApiTypes.STR, OpenApiParameter.PATH, description="The id that the caller chose for the session"
)
# A missing or invalid token is not an error here. A token that can't be checked is.
OPEN = errors(429, 503)


class OptionalBearerScheme(BearerScheme):
    target_class = "conversations.surfaces.sessions.authentication.OptionalBearerAuthentication"
    name = "optionalBearer"


send_message = operation(
    "session_send_message",
    "Send a message and receive the reply, line by line. The first message creates the session",
    TAG,
    parameters=[IDEMPOTENCY_KEY, *RESUMED],
    request=requests.SendBody,
    responses={**STREAMS, **OPEN, **errors(401, 403), **SEND_ERRORS},
    examples=[example({"session_id": "kitchen", "message": "hello"}), *NDJSON_EXAMPLES, *SSE_EXAMPLES],
)
read_history = operation(
    "session_read_history",
    "Read the newest messages of a session, oldest first. `Link` leads to older ones",
    TAG,
    parameters=[SESSION, limit(1000), CURSOR, LINK],
    responses={(200, JSON): responses.HistorySchema, **OPEN, **errors(400, 404)},
)
forget_history = operation(
    "session_forget_history",
    "Stop the running reply, then delete the session's history",
    TAG,
    parameters=[SESSION],
    responses={(200, JSON): responses.ForgottenSchema, **OPEN, **errors(404, 423)},
)
claim_session = operation(
    "session_claim",
    "Take over a session that was begun without a token. The first user who names its id gets it",
    TAG,
    parameters=[SESSION],
    request=None,
    responses={(200, JSON): responses.ClaimedSchema, **GUARDED, **errors(403, 404)},
)
