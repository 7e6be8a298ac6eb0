"""The codes of all errors, with what a client should know of each. The OpenAPI file and docs/surfaces.md show them."""

from collections.abc import Mapping
from types import MappingProxyType

ERROR_CODES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "invalid": (
            400,
            "Something in the request is wrong; `fields` may name it. 417 or 501: a header that is not supported",
        ),
        "content_refused": (400, "The model's provider refused the message because of its content"),
        "context_too_long": (400, "The message alone is too long for the model"),
        "value_refused": (400, "The model's provider refused a value of the request. `fields` names it"),
        "model_gone": (400, "The inference service no longer has the model that was chosen"),
        "conversation_too_long": (400, "The conversation has too many messages to be copied"),
        "not_authenticated": (401, "A token is missing"),
        "invalid_token": (401, "The token is invalid or has expired"),
        "permission_denied": (403, "This user may not do this"),
        "unknown_user": (403, "The database does not contain this account"),
        "not_found": (404, "It does not exist, or it belongs to another user"),
        "method_not_allowed": (405, "This address does not have this method"),
        "request_timeout": (408, "The body did not arrive in time"),
        "generation_in_progress": (409, "A reply is running. `message_id` names it, `Location` is its stream"),
        "not_continuable": (409, "This message is not the last reply, or not an unfinished one with text"),
        "history_mismatch": (
            409,
            "The messages before the new one are not those of the chat. `message_ids` has those that are",
        ),
        "payload_too_large": (413, "The body is too large"),
        "url_too_long": (414, "The URL is too long"),
        "idempotency_mismatch": (422, "Another request has used this Idempotency-Key"),
        "throttled": (429, "Too many requests. Wait for `Retry-After`"),
        "quota_exceeded": (429, "The tokens of this day or month are used up. `resets_at` says until when"),
        "too_many_generations": (429, "Too many replies are running at once"),
        "too_many_streams": (429, "Too many streams are open"),
        "search_in_progress": (429, "Another search of this user is running"),
        "export_in_progress": (429, "Another export of this user is running"),
        "headers_too_large": (431, "The headers are too large"),
        "internal_error": (500, "The service failed unexpectedly"),
        "not_supported": (501, "The inference service does not support this"),
        "upstream_error": (502, "The model failed. If the message was saved, the body has its ids"),
        "upstream_refused": (502, "The model's provider refuses this service. Tell the people who run it"),
        "no_answer": (502, "The model ended without an answer"),
        "tool_call_unsupported": (502, "The model called a tool"),
        "upstream_unavailable": (503, "The model is unavailable"),
        "upstream_busy": (503, "The model has too many requests. Wait for `Retry-After`, if it is there"),
        "upstream_timeout": (504, "The model took too long"),
        "not_saved": (503, "The end of the reply could not be saved"),
        "auth_unavailable": (503, "The service can't check the token right now"),
        "database_unavailable": (503, "The database is unavailable"),
        "overloaded": (503, "The service has too much to do"),
        "search_too_broad": (503, "The search takes too long"),
        "unavailable": (503, "The server is shutting down or can't be reached. Try again"),
    }
)
# What an `error` event in a stream may say. `internal_error`: the stream failed, not the reply.
STREAM_CODES = (
    "upstream_error",
    "upstream_timeout",
    "upstream_unavailable",
    "upstream_busy",
    "upstream_refused",
    "content_refused",
    "context_too_long",
    "value_refused",
    "model_gone",
    "no_answer",
    "tool_call_unsupported",
    "not_saved",
    "internal_error",
)
