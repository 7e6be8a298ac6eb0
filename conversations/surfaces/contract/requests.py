"""Request bodies of the contract surface. They have exactly these fields."""

from typing import Annotated, Any, ClassVar

from django.conf import settings
from msgspec import UNSET, Meta, UnsetType

from chatapi.api.bodies import Body
from conversations.models import MAX_TITLE_CHARACTERS
from conversations.surfaces.request_fields import ignored, visible


class ConversationCreateBody(Body, forbid_unknown_fields=True):
    ref_name: ClassVar = "ContractConversationCreate"

    title: Annotated[str, visible(MAX_TITLE_CHARACTERS)]
    model_tag: Annotated[str, visible(100)]


class ConversationPatchBody(Body, forbid_unknown_fields=True):
    ref_name: ClassVar = "ContractConversationPatch"

    title: Annotated[str, visible(MAX_TITLE_CHARACTERS)] | UnsetType = UNSET
    model_tag: Annotated[str, visible(100)] | UnsetType = UNSET


class SentMessage(Body, forbid_unknown_fields=True):
    ref_name: ClassVar = "ContractSentMessage"

    content: Annotated[str, visible(settings.MAX_MESSAGE_CHARACTERS)]
    id: Annotated[Any, ignored()] = None
    conversation_id: Annotated[Any, ignored()] = None
    role: Annotated[Any, ignored()] = None
    token_count: Annotated[Any, ignored()] = None
    model_tag: Annotated[Any, ignored()] = None
    inference_time_ms: Annotated[Any, ignored()] = None
    created_at: Annotated[Any, ignored()] = None


class SendBody(Body, forbid_unknown_fields=True):
    ref_name: ClassVar = "ContractSend"

    message: SentMessage
    stream: Annotated[bool, Meta(description="false: return the reply as JSON instead of a stream.")] = True
