"""OpenAPI descriptions of the rest: health, models, assistants, search, usage, users, instructions."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample

from conversations.surfaces.api import requests
from conversations.surfaces.api.responses.messages import HitListSchema
from conversations.surfaces.api.responses.service import (
    AssistantListSchema,
    HealthSchema,
    InstructionsSchema,
    ModelListSchema,
    ReadinessSchema,
    SwapAnswerSchema,
)
from conversations.surfaces.api.responses.usage import UsageReportSchema, UserListSchema
from conversations.surfaces.openapi import (
    CURSOR,
    GUARDED,
    JSON,
    errors,
    example,
    limit,
    operation,
    query,
)

health = operation(
    "health",
    "Report whether the process is alive",
    "service",
    auth=[],
    responses={(200, JSON): HealthSchema, **errors(429)},
)
ready = operation(
    "ready",
    "Report whether the service can serve requests",
    "service",
    auth=[],
    responses={(200, JSON): ReadinessSchema, (503, JSON): ReadinessSchema, **errors(429)},
)
models = operation(
    "list_models",
    "List the models of the inference service",
    "models",
    responses={(200, JSON): ModelListSchema, **GUARDED, **errors(502, 504)},
)
swap_model = operation(
    "swap_model",
    "Load another model (admins only)",
    "models",
    request=requests.SwapBody,
    examples=[example({"model_tag": "large"})],
    responses={(202, JSON): SwapAnswerSchema, **GUARDED, **errors(400, 403, 413, 501, 502, 504)},
)
list_assistants = operation(
    "list_assistants",
    "List the assistants that you may use, by name",
    "assistants",
    responses={(200, JSON): AssistantListSchema, **GUARDED},
)
search = operation(
    "search",
    "Search your messages and titles. Groups of newer matches come first; within a group, titles and the best matches",
    "search",
    parameters=[
        query(
            "q",
            'All words must match. "…" is a phrase, `-` excludes a word, `or` allows alternatives. '
            "The last word may be a beginning. Chinese, Japanese, Korean or Thai text is found within longer text.",
            required=True,
        ),
        limit(50),
        CURSOR,
    ],
    responses={(200, JSON): HitListSchema, **GUARDED, **errors(400)},
    examples=[
        OpenApiExample(
            "A hit",
            value={
                "items": [
                    {
                        "in": "message",
                        "message_id": "01920000-0000-7000-8000-000000000002",
                        "conversation_id": "01920000-0000-7000-8000-000000000001",
                        "conversation_title": "Tea",
                        "role": "user",
                        "created_at": "2026-11-20T09:30:00Z",
                        "snippet": "How long must &lt;green&gt; <mark>tea</mark> steep?",
                    }
                ],
                "limit": 20,
                "next": None,
            },
            response_only=True,
            status_codes=["200"],
        )
    ],
)
usage = operation(
    "usage",
    "Report your messages, tokens and inference time per day, including deleted messages",
    "usage",
    parameters=[
        query("days", "Number of days up to `to`: 1 to 92, default 30. Not together with `from`", OpenApiTypes.INT),
        query("from", "First day, at most 91 days before the last day", OpenApiTypes.DATE),
        query("to", "Last day. Default: today", OpenApiTypes.DATE),
        query("tz", "Time zone of the days, such as Asia/Kolkata. Default: UTC"),
        query("by", "`model`: the response has `models` as well", enum=["day", "model"]),
    ],
    responses={(200, JSON): UsageReportSchema, **GUARDED, **errors(400)},
)
list_users = operation(
    "list_users",
    "List users by id, with their numbers of conversations and messages, and totals (admins only). "
    "The list includes the users of the predecessor's table `users`",
    "service",
    parameters=[limit(100), CURSOR],
    responses={(200, JSON): UserListSchema, **GUARDED, **errors(400, 403)},
)
read_instructions = operation(
    "read_instructions",
    "Read your own instructions: what the model is told in all your conversations",
    "instructions",
    responses={(200, JSON): InstructionsSchema, **GUARDED},
)
save_instructions = operation(
    "save_instructions",
    "Save your own instructions. They follow the system prompt, except in temporary conversations",
    "instructions",
    request=requests.InstructionsBody,
    examples=[example({"instructions": "Answer in Dutch."})],
    responses={(200, JSON): InstructionsSchema, **GUARDED, **errors(400, 413)},
)
delete_instructions = operation(
    "delete_instructions",
    "Delete your own instructions",
    "instructions",
    responses={204: None, **GUARDED, **errors(423)},
)
