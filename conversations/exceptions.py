"""What a conversation refuses to do, as a client may hear of it."""

from uuid import UUID

from chatapi.problem import Problem


class ConversationNotFound(Problem):
    code = "not_found"
    status = 404
    detail = "There is no such conversation, or it is not yours."


class UnknownUser(Problem):
    code = "unknown_user"
    status = 403
    detail = "Your account is not in this service's database. Log in again; if that does not help, tell the operator."


class MessageNotFound(Problem):
    code = "not_found"
    status = 404
    detail = "There is no such message in this conversation."


class GenerationInProgress(Problem):
    code = "generation_in_progress"
    status = 409
    detail = "A reply is being written in this conversation. Wait for it, follow it, or stop it."

    def __init__(self, running_id: UUID | None = None) -> None:
        """`running_id` is the reply that is being written; None where it has ended since."""
        self.running_id = running_id
        super().__init__(retry_after_s=5, message_id=None if running_id is None else str(running_id))


class TooManyGenerations(Problem):
    code = "too_many_generations"
    status = 429
    detail = "Too many of your replies are being written at once. Wait for one to end, or stop one."


class TooManyStreams(Problem):
    code = "too_many_streams"
    status = 429
    detail = "You have too many streams open. Close one, or wait for one to end."


class IdempotencyMismatch(Problem):
    code = "idempotency_mismatch"
    status = 422
    detail = "This Idempotency-Key was used in this conversation for a different request."


class NothingToRegenerate(Problem):
    code = "not_found"
    status = 404
    detail = "There is no message in this conversation that could be answered."


class ShuttingDown(Problem):
    code = "unavailable"
    status = 503
    detail = "This server is shutting down. Nothing was sent; try again at once."


class BadCursor(Problem):
    code = "invalid"
    status = 400
    detail = "This cursor is not one of ours, or belongs to another list."


class NothingToStop(Problem):
    code = "not_found"
    status = 404
    detail = "There is no reply in this conversation that could be stopped."


class NotTheLastTurn(Problem):
    code = "invalid"
    status = 400
    detail = "Only the last message that you sent can be changed, and only its versions can be switched."


class ModelNotAllowed(Problem):
    """A `model_tag` that users may not choose; shaped like every other invalid field."""

    code = "invalid"
    status = 400
    reason = "This model can't be chosen; GET /api/models lists those that can."

    def __init__(self) -> None:
        super().__init__(f"model_tag: {self.reason}", fields={"model_tag": [self.reason]})


class AssistantNotFound(Problem):
    code = "not_found"
    status = 404
    detail = "There is no such assistant."


class SessionNotFound(Problem):
    code = "not_found"
    status = 404
    detail = "There is no such session, or it is not yours."


class AuthenticationRequired(Problem):
    code = "not_authenticated"
    status = 401
    detail = "This assistant can't be used without a valid token."


class MalformedSession(Problem):
    code = "invalid"
    status = 400
    detail = "Without a token a session's id is its key, so it must be a UUID."


class SearchInProgress(Problem):
    code = "search_in_progress"
    status = 429
    detail = "Another search of yours is still running. Try again when it has ended."


class SearchTooBroad(Problem):
    code = "search_too_broad"
    status = 503
    detail = "This search takes too long. Use more words, or rarer ones."
