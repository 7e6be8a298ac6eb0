"""OpenAPI descriptions of the OpenAI surface."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from conversations.surfaces.openai import requests, schemas
from conversations.surfaces.openai.streams.event_schemas import RESPONSE_STREAM_EVENT
from conversations.surfaces.openapi import (
    IDEMPOTENCY_KEY,
    JSON,
    SSE,
    example,
    header,
    limit,
    operation,
    query,
)

TAG = "openai"


def errors(*statuses: int) -> dict[Any, Any]:
    return {(status, JSON): schemas.ErrorSchema for status in statuses}


GUARDED = errors(401, 429, 503)
CONVERSATION = OpenApiParameter("conversation_id", OpenApiTypes.STR, OpenApiParameter.PATH, description="`conv_…`")
ITEM = OpenApiParameter("item_id", OpenApiTypes.STR, OpenApiParameter.PATH, description="`msg_…` or `rs_…`")
MODEL = OpenApiParameter("model", OpenApiTypes.STR, OpenApiParameter.PATH, description="The `id` of a listed model")
RESPONSE = OpenApiParameter("response_id", OpenApiTypes.STR, OpenApiParameter.PATH, description="`resp_…`")
PAGE = [
    limit(100, default=20),
    query("order", "`desc` (newest first, the default) or `asc`", enum=["asc", "desc"]),
    query("after", "The id of the last item of the page before"),
]
RETRIES = header(
    "X-Stainless-Retry-Count",
    "The packages send it. Above 0 and without an Idempotency-Key, the request follows the turn that the same body began "
    "within the last 15 minutes",
)
EXAMPLE = OpenApiExample(
    "A piece of the text",
    value={
        "type": "response.output_text.delta",
        "sequence_number": 902,
        "item_id": "msg_0192…",
        "output_index": 0,
        "content_index": 0,
        "delta": "hello",
        "logprobs": [],
    },
    media_type=SSE,
)
ANSWERS: dict[Any, Any] = {(200, JSON): schemas.ResponseSchema, (200, SSE): RESPONSE_STREAM_EVENT}

list_models = operation(
    "openai_list_models",
    "List the models",
    TAG,
    responses={(200, JSON): schemas.ModelListSchema, **GUARDED, **errors(502, 504)},
)
read_model = operation(
    "openai_read_model",
    "Read a model",
    TAG,
    parameters=[MODEL],
    responses={(200, JSON): schemas.ModelSchema, **GUARDED, **errors(404, 502, 504)},
)
create_conversation = operation(
    "openai_create_conversation",
    "Create a conversation",
    TAG,
    parameters=[IDEMPOTENCY_KEY],
    request=requests.ConversationCreateBody,
    examples=[example({"metadata": {"topic": "tea"}})],
    responses={(200, JSON): schemas.ConversationSchema, **GUARDED, **errors(400, 403, 413, 422)},
)
read_conversation = operation(
    "openai_read_conversation",
    "Read a conversation",
    TAG,
    parameters=[CONVERSATION],
    responses={(200, JSON): schemas.ConversationSchema, **GUARDED, **errors(404)},
)
update_conversation = operation(
    "openai_update_conversation",
    "Replace the metadata of a conversation",
    TAG,
    parameters=[CONVERSATION],
    request=requests.ConversationUpdateBody,
    examples=[example({"metadata": {"topic": "green tea"}})],
    responses={(200, JSON): schemas.ConversationSchema, **GUARDED, **errors(400, 404, 413)},
)
delete_conversation = operation(
    "openai_delete_conversation",
    "Stop the running response of a conversation, and delete the conversation with its messages",
    TAG,
    parameters=[CONVERSATION],
    responses={(200, JSON): schemas.DeletedSchema, **GUARDED, **errors(404, 423)},
)
list_items = operation(
    "openai_list_items",
    "List the items of a conversation's active branch",
    TAG,
    parameters=[CONVERSATION, *PAGE],
    responses={(200, JSON): schemas.ItemListSchema, **GUARDED, **errors(400, 404)},
)
create_items = operation(
    "openai_create_items",
    "Add messages at the end of a conversation",
    TAG,
    parameters=[CONVERSATION],
    request=requests.ItemsCreateBody,
    examples=[example({"items": [{"role": "user", "content": "hello"}]})],
    responses={(200, JSON): schemas.ItemListSchema, **GUARDED, **errors(400, 404, 409, 413)},
)
read_item = operation(
    "openai_read_item",
    "Read an item of a conversation",
    TAG,
    parameters=[CONVERSATION, ITEM],
    responses={(200, JSON): schemas.ItemSchema, **GUARDED, **errors(404)},
)
delete_item = operation(
    "openai_delete_item",
    "Delete an item of a conversation. What follows it stays",
    TAG,
    parameters=[CONVERSATION, ITEM],
    responses={(200, JSON): schemas.ConversationSchema, **GUARDED, **errors(404, 423)},
)
create_response = operation(
    "openai_create_response",
    "Ask a question and receive the response",
    TAG,
    parameters=[IDEMPOTENCY_KEY, RETRIES],
    request=requests.ResponseCreateBody,
    responses={**ANSWERS, **GUARDED, **errors(400, 403, 404, 409, 413, 422, 502, 504)},
    examples=[example({"input": "hello"}), EXAMPLE],
)
read_response = operation(
    "openai_read_response",
    "Read a response, or follow its stream",
    TAG,
    parameters=[
        RESPONSE,
        query("stream", "`true`: the stream of events", OpenApiTypes.BOOL),
        query("starting_after", "The `sequence_number` of the last event that you received", OpenApiTypes.INT),
    ],
    responses={**ANSWERS, **GUARDED, **errors(400, 404)},
)
cancel_response = operation(
    "openai_cancel_response",
    "Stop a response. Its text so far is kept. A response that has ended does not change",
    TAG,
    parameters=[RESPONSE],
    request=None,
    responses={(200, JSON): schemas.ResponseSchema, **GUARDED, **errors(404)},
)
delete_response = operation(
    "openai_delete_response",
    "Stop a response and delete it. Without other responses, an unlisted conversation is deleted with it",
    TAG,
    parameters=[RESPONSE],
    responses={(200, JSON): schemas.DeletedSchema, **GUARDED, **errors(404, 423)},
)
list_input_items = operation(
    "openai_list_input_items",
    "List the messages that a response answers",
    TAG,
    parameters=[RESPONSE, *PAGE],
    responses={(200, JSON): schemas.ItemListSchema, **GUARDED, **errors(400, 404)},
)
