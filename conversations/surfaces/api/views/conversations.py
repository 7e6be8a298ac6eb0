"""/api/conversations: list, create, read, change, delete, fork, stop, resume, name, regenerate."""

from functools import partial
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import ViewSet
from chatapi.api.wire import Response
from conversations.exceptions import NothingToStop
from conversations.known_times import with_conversation_times
from conversations.services.bulk import Filters, change_all
from conversations.services.conversations import (
    create_conversation,
    delete_conversation,
    lock_conversation,
    require_conversation,
    restore_conversation,
    update_conversation,
)
from conversations.services.forks import fork_conversation, measure_branch
from conversations.services.replies.stop import stop_reply
from conversations.services.sending.begin import regenerate_turn
from conversations.services.sending.model_titles import name_conversation
from conversations.services.sending.queue import find_keyed, refuse_queued, remove_queued, resume_queue
from conversations.surfaces.api.operations import conversations as operations
from conversations.surfaces.api.queries import (
    read_conversation,
    read_conversation_and_messages,
    read_conversation_and_page,
    read_conversation_page,
    read_message,
    read_trash_page,
)
from conversations.surfaces.api.requests import (
    ConversationCreateBody,
    ConversationPatchBody,
    ConversationPutBody,
    ForkBody,
    SamplingBody,
)
from conversations.surfaces.api.responses.conversations import (
    BULK_CURSOR,
    ConversationListSchema,
    ConversationSchema,
    bulk_response,
    group_by_day,
)
from conversations.surfaces.api.views.replies import respond_as_asked
from conversations.surfaces.callers import caller_id
from conversations.surfaces.conditional import only_if_unchanged, quoted, tag_of, tagged
from conversations.surfaces.headers import STOPS_LATER, read_idempotency_key, read_stop_key, replay_headers
from conversations.surfaces.ids import require_conversation_id, require_message_id
from conversations.surfaces.paging import MAX_OFFSET, read_cursor
from conversations.surfaces.query_parameters import read_choice, read_flag, read_text, read_whole_number, read_zone
from conversations.surfaces.replica import from_replica
from conversations.surfaces.reply_delivery import conversation_location
from conversations.surfaces.request_weights import sends_for
from conversations.surfaces.throttles import SendThrottle
from conversations.tags import clean_tag


def _respond(conversation: ConversationSchema, **options: Any) -> Response:
    response = Response(conversation, **options)
    response["ETag"] = quoted(_state_of(conversation))
    return response


def _state_of(conversation: ConversationSchema) -> str:
    columns = (getattr(conversation, name) for name in ConversationSchema.__struct_fields__ if name != "running_message_id")
    return tag_of([*columns])


def _lock_state(conversation_id: UUID, user_id: UUID) -> str:
    row = lock_conversation(ConversationSchema.columns, conversation_id=conversation_id, user_id=user_id)
    return _state_of(ConversationSchema.from_row(with_conversation_times([row])[0]))


class ConversationViewSet(ViewSet):
    def get_throttles(self) -> list[Any]:
        return [SendThrottle()] if self.action in ("regenerate", "fork", "retitle") else super().get_throttles()

    @operations.list_conversations
    @tagged
    @from_replica
    def list(self, request: Request) -> Response:
        params = request.query_params
        if read_flag(params, "deleted"):
            return self._list_trash(request)
        offset = read_whole_number(params, "offset", 0, least=0, most=MAX_OFFSET)
        zone = read_zone(params)
        items, limit, next_cursor = read_conversation_page(
            caller_id(request),
            params,
            is_favorited=read_flag(params, "favorited"),
            is_archived=read_flag(params, "archived") or False,
            tag=clean_tag(read_text(params, "tag", longest=200)),
            title=read_text(params, "q", longest=200),
            offset=offset,
        )
        grouped = group_by_day(items, zone)
        return Response(ConversationListSchema(items, grouped, limit, offset, next_cursor))

    def _list_trash(self, request: Request) -> Response:
        params, zone = request.query_params, read_zone(request.query_params)
        if others := [name for name in ("favorited", "archived", "tag", "q", "offset") if name in params]:
            raise ValidationError({name: ["Not together with deleted."] for name in others})
        items, limit, next_cursor = read_trash_page(caller_id(request), params)
        return Response(ConversationListSchema(items, group_by_day(items, zone), limit, 0, next_cursor))

    @operations.create_conversation
    def create(self, request: Request) -> Response:
        body = read_body(ConversationCreateBody, request)
        row, is_replay = create_conversation(
            ConversationSchema.columns,
            user_id=caller_id(request),
            idempotency_key=read_idempotency_key(request),
            **body.chosen(),
        )
        headers = {"Location": conversation_location(row["id"]), **replay_headers(is_replay)}
        return _respond(ConversationSchema.from_row(row), status=201, headers=headers)

    @operations.fork_conversation
    def fork(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id = require_conversation_id(conversation_id), caller_id(request)
        body = read_body(ForkBody, request)
        message_id = None if body.message_id is None else require_message_id(body.message_id)
        if message_id is not None:
            refuse_queued(conversation_id=found_id, user_id=user_id, message_id=message_id)
        SendThrottle().count_further(request, sends_for(*measure_branch(conversation_id=found_id, user_id=user_id)))
        made_id, is_replay = fork_conversation(
            conversation_id=found_id,
            user_id=user_id,
            message_id=message_id,
            title=body.title,
            idempotency_key=read_idempotency_key(request),
        )
        headers = {"Location": conversation_location(made_id), **replay_headers(is_replay)}
        return Response(read_conversation(made_id, user_id), status=201, headers=headers)

    @operations.read_conversation
    @tagged
    def retrieve(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id, params = require_conversation_id(conversation_id), caller_id(request), request.query_params
        if "limit" in params or "cursor" in params:
            return _respond(read_conversation_and_page(found_id, user_id, params))
        return _respond(read_conversation_and_messages(found_id, user_id))

    @operations.replace_conversation
    def update(self, request: Request, conversation_id: str) -> Response:
        return self._change(request, conversation_id, ConversationPutBody)

    @operations.change_conversation
    def partial_update(self, request: Request, conversation_id: str) -> Response:
        return self._change(request, conversation_id, ConversationPatchBody)

    def _change(self, request: Request, conversation_id: str, kind: type[ConversationPatchBody]) -> Response:
        found_id, user_id = require_conversation_id(conversation_id), caller_id(request)
        body = read_body(kind, request)
        with only_if_unchanged(request, partial(_lock_state, found_id, user_id)):
            row = update_conversation(
                ConversationSchema.columns, conversation_id=found_id, user_id=user_id, changes=body.chosen()
            )
        return _respond(ConversationSchema.from_row(with_conversation_times([row])[0]))

    @operations.delete_conversation
    def destroy(self, request: Request, conversation_id: str) -> Response:
        found_id = require_conversation_id(conversation_id)
        # Deleting waits for the end of a running reply, so it can't be in one transaction with the check.
        with only_if_unchanged(request, partial(_lock_state, found_id, caller_id(request))):
            pass
        delete_conversation(conversation_id=found_id, user_id=caller_id(request))
        return Response(status=204)

    @operations.delete_all_conversations
    def destroy_all(self, request: Request) -> Response:
        params = request.query_params
        if params.get("confirm") != "all":
            raise ValidationError({"confirm": ["To delete all your conversations, say confirm=all."]})
        after = read_cursor(params, BULK_CURSOR)
        result = change_all(user_id=caller_id(request), filters=Filters(is_everything=True), action="delete", after=after)
        return Response(bulk_response("delete", result))

    @operations.restore_conversation
    def restore(self, request: Request, conversation_id: str) -> Response:
        found_id = require_conversation_id(conversation_id)
        row = restore_conversation(ConversationSchema.columns, conversation_id=found_id, user_id=caller_id(request))
        return Response(ConversationSchema.from_row(with_conversation_times([row])[0]))

    @operations.stop_reply
    def stop(self, request: Request, conversation_id: str) -> Response:
        found_id = require_conversation_id(conversation_id)
        require_conversation(conversation_id=found_id, user_id=caller_id(request))
        key, queued = read_stop_key(request), read_choice(request.query_params, "queued", ("keep", "drop"))
        if key and (waiting_id := find_keyed(found_id, key)) is not None:
            return self._remove_queued(request, found_id, waiting_id)
        reply_id = stop_reply(found_id, key, drops_queue=queued == "drop")
        if reply_id is None and key:
            return Response({"detail": STOPS_LATER}, status=202)
        if reply_id is None:
            raise NothingToStop
        return Response(read_message(found_id, reply_id))

    def _remove_queued(self, request: Request, conversation_id: UUID, message_id: UUID) -> Response:
        """Remove the message that waits under the key of a stop, and return it as it was."""
        message = read_message(conversation_id, message_id)
        remove_queued(conversation_id=conversation_id, user_id=caller_id(request), message_id=message_id)
        return Response(message)

    @operations.resume_queue
    def resume(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id = require_conversation_id(conversation_id), caller_id(request)
        resume_queue(conversation_id=found_id, user_id=user_id)
        return Response(read_conversation(found_id, user_id))

    @operations.name_conversation
    def retitle(self, request: Request, conversation_id: str) -> Response:
        found_id, user_id = require_conversation_id(conversation_id), caller_id(request)
        require_conversation(conversation_id=found_id, user_id=user_id)
        name_conversation(conversation_id=found_id, user_id=user_id)
        return Response(read_conversation(found_id, user_id))

    @operations.regenerate
    def regenerate(self, request: Request, conversation_id: str) -> HttpResponseBase:
        found_id = require_conversation_id(conversation_id)
        body = read_body(SamplingBody, request)
        return respond_as_asked(request, regenerate_turn, body, conversation_id=found_id)
