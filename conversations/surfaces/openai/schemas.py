"""The objects of responses, for the OpenAPI file: `responses` makes them, `event_schemas` has those of streams."""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from conversations.surfaces.error_codes import ERROR_CODES


class ErrorDetailSchema(Struct):
    ref_name: ClassVar = "OpenAIErrorDetail"

    message: str
    type: Annotated[str, Meta(description="For example `invalid_request_error` or `server_error`.")]
    param: Annotated[str | None, Meta(description="The field or parameter that is wrong.")]
    # Those of the other surfaces.
    code: Annotated[str, Meta(extra_json_schema={"type": "string", "enum": list(ERROR_CODES)})]


class ErrorSchema(Struct):
    ref_name: ClassVar = "OpenAIError"

    error: ErrorDetailSchema


class ContentSchema(Struct):
    ref_name: ClassVar = "OpenAIContent"

    type: Annotated[str, Meta(description="`input_text`, `output_text`, `refusal` or `reasoning_text`.")]
    text: Annotated[str, Meta(description="Of all but a refusal.")] | UnsetType = UNSET
    refusal: Annotated[str, Meta(description="What the model said when it refused to answer.")] | UnsetType = UNSET
    annotations: list[Any] | UnsetType = UNSET
    logprobs: list[Any] | UnsetType = UNSET


class ItemSchema(Struct):
    ref_name: ClassVar = "OpenAIItem"

    id: Annotated[
        str, Meta(description="`msg_…` for a message, `rs_…` for reasoning, `fc_…` for a call, `fco_…` for an output.")
    ]
    type: Annotated[str, Meta(description="`message`, `reasoning`, `function_call` or `function_call_output`.")]
    status: Annotated[str, Meta(description="`in_progress`, `completed` or `incomplete`.")]
    role: Literal["user", "assistant", "system"] | UnsetType = UNSET
    content: Annotated[list[ContentSchema], Meta(description="Of messages and reasoning.")] | UnsetType = UNSET
    call_id: Annotated[str, Meta(description="Of calls and outputs.")] | UnsetType = UNSET
    name: Annotated[str, Meta(description="Of calls: the function.")] | UnsetType = UNSET
    arguments: Annotated[str, Meta(description="Of calls: JSON, as the model wrote it.")] | UnsetType = UNSET
    output: Annotated[str, Meta(description="Of outputs.")] | UnsetType = UNSET
    summary: Annotated[
        list[Any] | UnsetType, Meta(description="Of reasoning: its text, if the request asked for a summary.")
    ] = UNSET


class ItemListSchema(Struct):
    ref_name: ClassVar = "OpenAIItemList"

    object: Annotated[str, Meta(description="Always `list`.")]
    # Named by hand: a list of items is part of a page here.
    data: list[ItemSchema]
    first_id: Annotated[str, Meta(description='"" in an empty list.')]
    last_id: Annotated[str, Meta(description="For `?after=` of the next page.")]
    has_more: bool


class ConversationRefSchema(Struct):
    ref_name: ClassVar = "OpenAIConversationRef"

    id: str


class ConversationSchema(Struct):
    ref_name: ClassVar = "OpenAIConversation"

    id: str
    object: Annotated[str, Meta(description="Always `conversation`.")]
    created_at: Annotated[int, Meta(description="Seconds since 1970.")]
    metadata: dict[str, str]


class DeletedSchema(Struct):
    ref_name: ClassVar = "OpenAIDeleted"

    id: str
    object: Annotated[str, Meta(description="`response` or `conversation.deleted`.")]
    deleted: bool


class ResponseErrorSchema(Struct):
    ref_name: ClassVar = "OpenAIResponseError"

    code: Literal["server_error"]
    message: str
    type: Annotated[str, Meta(description="The `error_code` of the message on the primary surface, or `interrupted`.")]


class IncompleteSchema(Struct):
    ref_name: ClassVar = "OpenAIIncompleteDetails"

    reason: Annotated[str, Meta(description="`max_output_tokens` or `content_filter`.")]


class UsageSchema(Struct):
    ref_name: ClassVar = "OpenAIUsage"

    input_tokens: Annotated[int, Meta(ge=0, description="0 where the inference service does not count them.")]
    input_tokens_details: dict[str, int]
    output_tokens: Annotated[int, Meta(ge=0)]
    output_tokens_details: dict[str, int]
    total_tokens: Annotated[int, Meta(ge=0)]


class ResponseSchema(Struct):
    ref_name: ClassVar = "OpenAIResponse"

    id: str
    object: Annotated[str, Meta(description="Always `response`.")]
    created_at: Annotated[int, Meta(description="Seconds since 1970.")]
    completed_at: int | None
    status: Annotated[str, Meta(description="`in_progress`, `completed`, `incomplete`, `cancelled` or `failed`.")]
    model: str
    conversation: ConversationRefSchema
    previous_response_id: str | None
    instructions: str | None
    metadata: dict[str, str]
    background: bool
    store: Annotated[bool, Meta(description="false: the conversation is temporary.")]
    temperature: float
    max_output_tokens: int | None
    error: ResponseErrorSchema | None
    incomplete_details: IncompleteSchema | None
    output: list[ItemSchema]
    usage: Annotated[UsageSchema | None, Meta(description="null until the response has ended.")]
    tools: Annotated[list[Any], Meta(description="The functions that the request offered.")]
    tool_choice: Annotated[Any, Meta(description="A word, or the function that the model must call.")]
    parallel_tool_calls: bool
    max_tool_calls: int | None
    truncation: str
    text: dict[str, Any]
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    reasoning: dict[str, Any] | None
    service_tier: str
    safety_identifier: str | None
    prompt_cache_key: str | None


class ModelSchema(Struct):
    ref_name: ClassVar = "OpenAIModel"

    id: str
    object: Annotated[str, Meta(description="Always `model`.")]
    created: Annotated[int, Meta(description="Always 0.")]
    owned_by: str


class ModelListSchema(Struct):
    ref_name: ClassVar = "OpenAIModelList"

    object: Annotated[str, Meta(description="Always `list`.")]
    data: list[ModelSchema]
