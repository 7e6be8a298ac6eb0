"""Following a reply: from memory where it is generated in this process, from its row everywhere else."""

import time
from uuid import UUID

import orjson
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Length, Substr

from chatapi.database import release_connections
from conversations.models import Message, Status
from conversations.services.replies import live_replies
from inference_proxy.exceptions import FAILURES, NotSaved, UpstreamError
from inference_proxy.generation import closing_frames
from inference_proxy.responses import Follower
from inference_proxy.transcript import Frame

POLL_SECONDS = 0.5
# PostgreSQL's substr takes a four-byte integer; no text is this long.
MAX_POSITION = 2**31 - 1
# As long as a generation tries to save its reply.
DATABASE_PATIENCE_S = 60.0


def follow_reply(reply_id: UUID, after: int) -> Follower:
    """Return a follower of a reply, running or ended, that starts behind its first `after` code points."""
    generation = live_replies.get(reply_id)
    return StoredFollower(reply_id, after) if generation is None else generation.transcript.follow(after)


class StoredFollower:
    """Read a reply from its row, twice a second, until its status is final.

    A checkpoint may cut anywhere, so its frames are pieces of text and not the model's tokens.
    """

    def __init__(self, reply_id: UUID, after: int) -> None:
        self._reply_id = reply_id
        self._after = after
        self._away_since: float | None = None
        self.has_ended = False

    def read(self, timeout_s: float) -> list[Frame]:
        give_up_at = time.monotonic() + timeout_s
        while True:
            frames = self._poll_patiently()
            if live_replies.must_streams_end and not self.has_ended:
                # The reply goes on elsewhere, so there is no `done`: a client that reconnects is told it there.
                self.has_ended = True
                return frames
            if frames or time.monotonic() >= give_up_at:
                return frames
            time.sleep(min(POLL_SECONDS, max(0.0, give_up_at - time.monotonic())))

    def close(self) -> None:
        """Nothing is held between two polls."""

    def _poll_patiently(self) -> list[Frame]:
        """Poll; a database that is away for a while is silence, as it is to those who read from memory."""
        try:
            frames = self._poll()
        except (OperationalError, InterfaceError):
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since <= DATABASE_PATIENCE_S:
                return []
            # Whether the reply goes on is not to be known from here; the client can come back for the rest.
            self.has_ended = True
            return closing_frames(
                message_id=self._reply_id, status="interrupted", failure=NotSaved(), token_count=0, inference_time_ms=0
            )
        self._away_since = None
        return frames

    def _poll(self) -> list[Frame]:
        try:
            row = (
                Message.objects.filter(id=self._reply_id)
                .annotate(text=Substr("content", min(self._after + 1, MAX_POSITION)), length=Length("content"))
                .values("text", "length", "status", "error_code", "token_count", "inference_time_ms")
                .first()
            )
        finally:
            release_connections()
        if row is None:
            # Deleted meanwhile with its conversation, which stops a reply.
            self.has_ended = True
            return closing_frames(message_id=self._reply_id, status="stopped", failure=None, token_count=0, inference_time_ms=0)
        frames: list[Frame] = []
        if row["text"]:
            self._after = row["length"]
            frames.append((self._after, orjson.dumps({"token": row["text"]})))
        if row["status"] != Status.STREAMING:
            self.has_ended = True
            frames += closing_frames(
                message_id=self._reply_id,
                status=row["status"],
                failure=FAILURES.get(row["error_code"] or "", UpstreamError)() if row["status"] == Status.FAILED else None,
                token_count=row["token_count"] or 0,
                inference_time_ms=row["inference_time_ms"] or 0,
            )
        return frames
