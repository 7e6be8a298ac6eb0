"""Refusals around conversations, with the errors that clients see."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from chatapi.service_error import ServiceError

Period = Literal["day", "month"]


class ConversationNotFound(ServiceError):
    code = "not_found"
    status = 404
    detail = "This conversation does not exist, or it belongs to another user."


class UnknownUser(ServiceError):
    code = "unknown_user"
    status = 403
    detail = "The chat database does not contain your account. Log in again. If that does not help, contact support."


class MessageNotFound(ServiceError):
    code = "not_found"
    status = 404
    detail = "This message does not exist in this conversation."


class GenerationInProgress(ServiceError):
    code = "generation_in_progress"
    status = 409
    detail = "A reply is still running in this conversation. Wait until it ends, follow it, or stop it."

    def __init__(self, running_id: UUID | None = None) -> None:
        """`running_id` is the id of the running reply, or None if it has ended in the meantime."""
        self.running_id = running_id
        super().__init__(retry_after_s=5, message_id=None if running_id is None else str(running_id))


class MessagesWait(GenerationInProgress):
    """Nothing runs, but earlier messages wait. They go first."""

    detail = "Earlier messages of this conversation wait for their turn. Resume them, or remove them."


class QueueFull(ServiceError):
    code = "queue_full"
    status = 409
    detail = "Too many messages wait in this conversation already. Wait until one has its turn, or remove one."


class MessageWaits(ServiceError):
    code = "message_queued"
    status = 409
    detail = "This message waits for its turn. Until then, it can only be read, changed or removed."


class NotQueued(ServiceError):
    code = "not_queued"
    status = 409
    detail = "Only a message that waits for its turn can be removed."


class HistoryMismatch(ServiceError):
    code = "history_mismatch"
    status = 409
    detail = "The messages before this one are not those of this chat. Load the chat again, then send the message."

    def __init__(self, message_ids: list[str]) -> None:
        """`message_ids` are the ids on the active branch, under the names that the client knows, oldest first."""
        super().__init__(message_ids=message_ids)


class TooManyGenerations(ServiceError):
    code = "too_many_generations"
    status = 429
    detail = "Too many of your replies are running at once. Wait until one ends, or stop one."


class QuotaExceeded(ServiceError):
    code = "quota_exceeded"
    status = 429

    def __init__(self, period: Period, *, resets_at: datetime, retry_after_s: int) -> None:
        reset = resets_at.astimezone(UTC)
        detail = f"You have used all your tokens of this {period}. Try again after {reset:%Y-%m-%d %H:%M} UTC."
        super().__init__(detail, retry_after_s=retry_after_s, resets_at=reset)


class TooManyStreams(ServiceError):
    code = "too_many_streams"
    status = 429
    detail = "You have too many open streams. Close one, or wait until one ends."


class OnHold(ServiceError):
    code = "on_hold"
    status = 423
    detail = "This must be kept for a legal reason, so it was not deleted. Nothing was changed. Ask those who run this service."


class IdempotencyMismatch(ServiceError):
    code = "idempotency_mismatch"
    status = 422
    detail = "A different request has already used this Idempotency-Key."


class PreconditionFailed(ServiceError):
    code = "precondition_failed"
    status = 412
    detail = "It has changed since you read it. Read it again, then decide."


class NothingToRegenerate(ServiceError):
    code = "not_found"
    status = 404
    detail = "This conversation has no message to answer."


class ShuttingDown(ServiceError):
    code = "unavailable"
    status = 503
    detail = "The server is shutting down and did not start a reply. Try again now."


class TooManyReplies(ServiceError):
    code = "overloaded"
    status = 503
    detail = "The server is making as many replies as it can and did not start another one. Try again in a moment."


class BadCursor(ServiceError):
    code = "invalid"
    status = 400
    detail = "The cursor is malformed or belongs to another list."


class CursorExpired(ServiceError):
    code = "cursor_expired"
    status = 410
    detail = "The cursor is unknown or too old. Read the list of conversations again, and go on from a new cursor."


class NothingToStop(ServiceError):
    code = "not_found"
    status = 404
    detail = "This conversation has no reply to stop."


class NothingToTitle(ServiceError):
    code = "not_found"
    status = 404
    detail = "This conversation has no reply yet that a title could be made of."


class TitledByUser(ServiceError):
    code = "titled_by_user"
    status = 409
    detail = "You gave this conversation its title. It is not replaced."


class TitlesOff(ServiceError):
    code = "not_supported"
    status = 501
    detail = "This service makes no titles with a model."


class NotTheLastTurn(ServiceError):
    code = "invalid"
    status = 400
    detail = "The answer to the earlier request with this key was deleted."


class ConversationTooLong(ServiceError):
    code = "conversation_too_long"
    status = 400
    detail = "This conversation has too many messages to be copied."


class NotAQuestion(ServiceError):
    code = "invalid"
    status = 400
    detail = "You can edit only messages of your own. Ask for another answer with regenerate."


class ToolOutputMismatch(ServiceError):
    code = "tool_output_mismatch"
    status = 400
    detail = "Outputs must follow the answer that called the tools, one for each call. The inference service must take tools."


class NotContinuable(ServiceError):
    code = "not_continuable"
    status = 409
    detail = (
        "Only a reply with text that was stopped, was interrupted, failed, or reached the limit of its length can be continued."
    )


class ModelNotAllowed(ServiceError):
    """A `model_tag` that users may not choose. The response has the form of other invalid fields."""

    code = "invalid"
    status = 400
    reason = "This model is not available. GET /api/models lists the available models."

    def __init__(self) -> None:
        super().__init__(f"model_tag: {self.reason}", fields={"model_tag": [self.reason]})


class AssistantNotFound(ServiceError):
    code = "not_found"
    status = 404
    detail = "This assistant does not exist."


class SessionNotFound(ServiceError):
    code = "not_found"
    status = 404
    detail = "This session does not exist, or it belongs to another user."


class AuthenticationRequired(ServiceError):
    code = "not_authenticated"
    status = 401
    detail = "This assistant requires a valid token."


class MalformedSession(ServiceError):
    code = "invalid"
    status = 400
    detail = "Without a token, session_id must be a UUID, because it protects the session."


class SearchInProgress(ServiceError):
    code = "search_in_progress"
    status = 429
    detail = "Another of your searches is still running. Try again when it has ended."


class SearchTooBroad(ServiceError):
    code = "search_too_broad"
    status = 503
    detail = "The search takes too long. Use more words, or less common ones."


class ExportInProgress(ServiceError):
    code = "export_in_progress"
    status = 429
    detail = "Another export of yours is running. Finish it, or end it and try again in a moment."


class TooManyExports(ServiceError):
    code = "overloaded"
    status = 503
    detail = "Too many exports are running. Try again in a moment."
