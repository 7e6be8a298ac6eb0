"""Assistants, instructions, models, health."""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from msgspec import Meta, Struct

from chatapi.api.rows import Row


class AssistantSchema(Row):
    ref_name: ClassVar = "Assistant"

    id: UUID
    name: str
    description: str
    model_tag: Annotated[str, Meta(description="Empty: the model of the conversation.")]
    requires_authentication: Annotated[
        bool, Meta(description="false: anonymous callers may use it too, if ALLOW_ANONYMOUS is on.")
    ]


class AssistantListSchema(Struct):
    items: list[AssistantSchema]


class InstructionsSchema(Struct):
    ref_name: ClassVar = "OwnInstructions"

    instructions: Annotated[str, Meta(description="Empty if there are none.")]
    is_active: bool
    updated_at: Annotated[datetime | None, Meta(description="Null if there are none.")]


class ModelSchema(Struct):
    model_tag: str
    source: str
    path: str
    loaded: bool


class ModelListSchema(Struct):
    current_model: str | None
    models: list[ModelSchema]


class SwapAnswerSchema(Struct):
    status: str
    current_model: str | None


class HealthSchema(Struct):
    status: str
    ready: bool
    service: str
    version: str


class ReadinessSchema(Struct):
    status: str
    ready: bool
    checks: dict[str, str]
