"""What the OpenAPI descriptions of all surfaces share: media types, parameters, errors, closed schemas."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"

FRAME = (
    'An object: `{"token": "…"}`, and beside the token whatever else the model says; after a failure '
    '`{"error": "code", "detail"}`; last of all `{"done": true, "status", "message_id", "token_count", "inference_time_ms"}`.'
)
SSE_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event of the stream. Comments (single lines, without a blank line behind them) come first, and "
    "between events while nothing happens.",
    "properties": {
        "id": {
            "type": "string",
            "description": "The length of the reply after this event, in code points; of the last event: `done`. An error "
            "has none.",
        },
        "data": {"type": "string", "contentMediaType": "application/json", "description": FRAME},
    },
    "required": ["data"],
}
NDJSON_LINE: dict[str, Any] = {"type": "object", "description": f"One line of the stream. {FRAME}"}
# For clients that have `done` already: an EventSource reconnects after every end, unless it is answered so.
NO_MORE_EVENTS: dict[Any, Any] = {204: OpenApiResponse(description="`Last-Event-ID` is `done`: there is nothing more to read")}
STREAMS: dict[Any, Any] = {(200, SSE): SSE_EVENT, (200, NDJSON): NDJSON_LINE, **NO_MORE_EVENTS}

SSE_EXAMPLE = OpenApiExample(
    "A short reply",
    value=': stream\nid: 5\ndata: {"token": "hello", "gpu": 0}\n\nid: done\ndata: {"done": true, "status": "complete", '
    '"message_id": "0192…", "token_count": 1, "inference_time_ms": 41}\n\n',
    media_type=SSE,
)
NDJSON_EXAMPLE = OpenApiExample(
    "A short reply, as lines",
    value='{"token": "hello", "gpu": 0}\n{"done": true, "status": "complete", "message_id": "0192…", "token_count": 1, '
    '"inference_time_ms": 41}\n',
    media_type=NDJSON,
)


class ErrorSchema(serializers.Serializer[Any]):
    detail = serializers.CharField()
    code = serializers.CharField()

    class Meta:
        ref_name = "Error"


class InvalidSchema(ErrorSchema):
    class Meta:
        ref_name = "Invalid"

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # Not as an attribute: `fields` is the serializer's own.
        problems = serializers.ListField(child=serializers.CharField())
        return {**super().get_fields(), "fields": serializers.DictField(required=False, child=problems)}


class ClosedSerializer(serializers.Serializer[Any]):
    """A shape without further fields: documented so, and where it reads requests, refusing them."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(set(data) - set(self.fields))):
            raise serializers.ValidationError({name[:100]: ["There is no such field."] for name in unknown[:10]})
        return super().to_internal_value(data)


class ClosedSchemaExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Say `additionalProperties: false` of every `ClosedSerializer`."""

    target_class = "conversations.surfaces.documentation.ClosedSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        described: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**described, "additionalProperties": False}


def query(name: str, description: str, kind: Any = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description, **more)


def header(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)


def path_id(name: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.UUID, OpenApiParameter.PATH)


def errors(*statuses: int) -> dict[Any, Any]:
    return {(status, JSON): InvalidSchema if status == 400 else ErrorSchema for status in statuses}


def operation(operation_id: str, summary: str, tag: str, **options: Any) -> Any:
    return extend_schema(operation_id=operation_id, summary=summary, tags=[tag], **options)


LIMIT = query("limit", "1 to 200", OpenApiTypes.INT)
CURSOR = query("cursor", "The `next` of the page before")
IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "A request that is repeated with the same key creates nothing and follows the first one's reply. Only where that failed "
    "or was interrupted before its first word, the same message gets a new reply",
)
RESUMED = header(
    "Last-Event-ID",
    "Of a request that is repeated with its key: the id of the last event that you have. The stream goes on behind it",
)
LINK = OpenApiParameter(
    "Link",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[200],
    description='`<…>; rel="next"`, relative to this address: the next page; absent on the last',
)
# What every operation that asks who is calling may answer.
GUARDED = errors(401, 429, 503)
# What sending a message may be refused with, beside that.
SEND_ERRORS = errors(400, 404, 409, 413, 422, 502, 504)
