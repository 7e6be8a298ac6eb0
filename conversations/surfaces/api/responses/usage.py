"""Usage, quotas, and the users that admins see."""

from datetime import date, datetime
from typing import Annotated, ClassVar
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0)]
Tokens = Annotated[int, Meta(ge=0, description="Tokens of the replies.")]
PromptTokens = Annotated[int, Meta(ge=0, description="Tokens of the prompts. 0 if the model does not report them.")]
WholeCost = Annotated[float | None, Meta(description="In `currency`. Null: the cost of a part of it is not known.")]
KnownCost = Annotated[float | None, Meta(description="The cost of what is known. Null: the service knows no prices.")]


class UsageSchema(Struct):
    ref_name: ClassVar = "Usage"

    messages: Annotated[int, Meta(ge=0, description="Messages that the user sent.")]
    replies: Count
    tokens: Tokens
    prompt_tokens: PromptTokens
    inference_time_ms: Count
    cost: WholeCost
    known_cost: KnownCost


class DayUsageSchema(UsageSchema):
    ref_name: ClassVar = "DayUsage"

    date: date


class ModelUsageSchema(Struct):
    ref_name: ClassVar = "ModelUsage"

    model_tag: Annotated[
        str | None,
        Meta(description="Null: usage of an unknown model. An older version counted it, or its reply still runs."),
    ]
    replies: Count
    tokens: Tokens
    prompt_tokens: PromptTokens
    inference_time_ms: Count
    cost: WholeCost
    known_cost: KnownCost


class AllowanceSchema(Struct):
    ref_name: ClassVar = "Allowance"

    limit: Annotated[int, Meta(ge=1, description="Tokens of replies.")]
    used: Annotated[int, Meta(ge=0, description="Running replies count when they end, so it can exceed the limit.")]
    resets_at: datetime


class QuotaSchema(Struct):
    ref_name: ClassVar = "Quota"

    day: Annotated[AllowanceSchema | None, Meta(description="The current day (UTC). Null: no limit.")]
    month: Annotated[AllowanceSchema | None, Meta(description="The current month (UTC). Null: no limit.")]


class UsageReportSchema(Struct):
    days: Annotated[list[DayUsageSchema], Meta(description="Every day, oldest first.")]
    total: UsageSchema
    quota: Annotated[QuotaSchema | None, Meta(description="How many tokens you may use. Null: no limit.")]
    currency: Annotated[str, Meta(description="The currency of the costs. Empty: the service does not say.")]
    models: Annotated[
        list[ModelUsageSchema] | UnsetType,
        Meta(description="With `by=model`: all days together by model, the most tokens first."),
    ] = UNSET


class UserSchema(Struct):
    ref_name: ClassVar = "User"

    id: UUID
    email: str
    name: str
    is_admin: bool
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    conversations: Annotated[int, Meta(ge=0, le=10_000, description="10,000 means 10,000 or more.")]
    messages: Annotated[int, Meta(ge=0, le=10_000, description="10,000 means 10,000 or more.")]
    conversation_count: Annotated[int, Meta(ge=0, le=10_000, description="The same as `conversations`.")]
    message_count: Annotated[int, Meta(ge=0, le=10_000, description="The same as `messages`.")]
    provider: Annotated[str, Meta(description="From the predecessor's table of users. Empty without that table.")]
    created_at: Annotated[datetime | None, Meta(description="From the predecessor's table of users.")]
    last_login_at: Annotated[datetime | None, Meta(description="From the predecessor's table of users.")]


class TotalsSchema(Struct):
    users: Count
    conversations: Count
    messages: Count
    estimated: Annotated[
        bool, Meta(description="true: the tables are too large to count, so the totals are PostgreSQL's estimates.")
    ]


class UserListSchema(Struct):
    items: list[UserSchema]
    totals: TotalsSchema
    limit: int
    next: str | None
