"""/v1/conversations: create, read, change, delete; list, add, read and delete items."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import ViewSet
from chatapi.api.wire import Response
from conversations.services.conversations import delete_conversation, replace_metadata, require_conversation
from conversations.services.sending.brought_messages import Said
from conversations.services.sending.creation_keys import Made, create_once
from conversations.surfaces.callers import caller_id
from conversations.surfaces.headers import read_idempotency_key, replay_headers
from conversations.surfaces.openai import operations
from conversations.surfaces.openai.asking import retry_count, said_of
from conversations.surfaces.openai.deleting import delete_item
from conversations.surfaces.openai.identifiers import (
    REASONING,
    conversation_form,
    read_call_number,
    read_conversation_id,
    read_item_id,
)
from conversations.surfaces.openai.openings import add_items, open_conversation
from conversations.surfaces.openai.queries import read_added_items, read_conversation, read_item, read_items
from conversations.surfaces.openai.requests import (
    ConversationCreateBody,
    ConversationUpdateBody,
    ItemsCreateBody,
)
from conversations.surfaces.request_weights import sends_for
from conversations.surfaces.throttles import SendThrottle


def _further_sends(said: Sequence[Said]) -> int:
    """Return how many sends these items count as, besides the request itself: each as one, and long calls as several."""
    return sends_for(len(said) - 1, sum(each.size for each in said), messages_per_send=1)


class ConversationViewSet(ViewSet):
    def get_throttles(self) -> list[Any]:
        # Creating may store as much as several sends: see `count_further`.
        return [SendThrottle()] if self.action in ("create", "create_items") else super().get_throttles()

    @operations.create_conversation
    def create(self, request: Request) -> Response:
        asked = read_body(ConversationCreateBody, request)
        history = said_of(asked.items or ())
        SendThrottle().count_further(request, _further_sends(history))
        user_id, key, metadata = caller_id(request), read_idempotency_key(request), asked.metadata

        def create_it() -> UUID:
            return open_conversation(user_id=user_id, history=history, metadata=metadata, is_listed=True)

        same: list[object] = [
            metadata,
            [[said.role, said.content, *said.calls, *filter(None, [said.call_id])] for said in history],
        ]
        made = create_once(user_id, key, same, create_it) if key else Made(create_it())
        return Response(read_conversation(made.id, user_id), headers=replay_headers(made.is_replay))

    @operations.read_conversation
    def retrieve(self, request: Request, conversation_id: str) -> Response:
        return Response(read_conversation(read_conversation_id(conversation_id), caller_id(request)))

    @operations.update_conversation
    def update(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id = read_conversation_id(conversation_id), caller_id(request)
        metadata = read_body(ConversationUpdateBody, request).metadata
        replace_metadata(conversation_id=found_id, user_id=user_id, metadata=metadata)
        return Response(read_conversation(found_id, user_id))

    @operations.delete_conversation
    def destroy(self, request: Request, conversation_id: str) -> Response:
        found_id = read_conversation_id(conversation_id)
        delete_conversation(conversation_id=found_id, user_id=caller_id(request))
        return Response({"id": conversation_form(found_id), "object": "conversation.deleted", "deleted": True})

    @operations.list_items
    def items(self, request: Request, conversation_id: str) -> Response:
        found_id = read_conversation_id(conversation_id)
        require_conversation(conversation_id=found_id, user_id=caller_id(request))
        return Response(read_items(found_id, request.query_params))

    @operations.create_items
    def create_items(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id = read_conversation_id(conversation_id), caller_id(request)
        said = said_of(read_body(ItemsCreateBody, request).items)
        SendThrottle().count_further(request, _further_sends(said))
        is_repeated = retry_count(request._request) > 0
        added = add_items(conversation_id=found_id, user_id=user_id, said=said, is_repeated=is_repeated)
        return Response(read_added_items(found_id, added))

    @operations.read_item
    def retrieve_item(self, request: Request, conversation_id: str, item_id: str) -> Response:
        found_id = read_conversation_id(conversation_id)
        require_conversation(conversation_id=found_id, user_id=caller_id(request))
        return Response(read_item(found_id, item_id))

    @operations.delete_item
    def destroy_item(self, request: Request, conversation_id: str, item_id: str) -> Response:
        found_id, user_id = read_conversation_id(conversation_id), caller_id(request)
        delete_item(
            conversation_id=found_id,
            user_id=user_id,
            item_id=read_item_id(item_id),
            is_reasoning=item_id.startswith(REASONING),
            call_number=read_call_number(item_id),
        )
        return Response(read_conversation(found_id, user_id))
