"""/api/chat: chats for Vercel's AI SDK."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from chatapi.api.bodies import read_body
from chatapi.api.views import APIView
from chatapi.api.wire import Response
from conversations.exceptions import ConversationNotFound, NothingToStop
from conversations.services.conversations import delete_conversation, update_conversation
from conversations.services.replies.rounds import first_reply_of_run
from conversations.services.replies.stop import stop_reply
from conversations.services.sending.turn import Terms, Turn
from conversations.surfaces.ai_sdk import operations
from conversations.surfaces.ai_sdk.chats import find_chat, find_chat_to_stop, model_change, open_chat
from conversations.surfaces.ai_sdk.named_questions import answer_again, answer_first
from conversations.surfaces.ai_sdk.queries import (
    read_chat_page,
    read_earlier_parts,
    read_running_reply,
    read_title,
    read_ui_message,
)
from conversations.surfaces.ai_sdk.requests import REGENERATE, ChatPatchBody, Question, SubmitBody, SubmitParser, ToolResults
from conversations.surfaces.ai_sdk.responses import ChatDetailSchema, ChatSchema
from conversations.surfaces.ai_sdk.stream_format import HEADERS, ui_message_stream
from conversations.surfaces.ai_sdk.tool_results import answer_outputs, count_unsent_outputs
from conversations.surfaces.callers import caller_id
from conversations.surfaces.headers import STOPS_LATER, next_link, read_stop_key
from conversations.surfaces.reply_delivery import Delivery, conversation_location, reply_headers, stream_reply, stream_turn
from conversations.surfaces.sending import begin_turn, refuse_too_many_streams
from conversations.surfaces.throttles import SendThrottle
from inference_proxy.replies.frames import START


class SubmitView(APIView):
    parser = SubmitParser()
    throttle_classes = [SendThrottle]

    @operations.submit
    def post(self, request: Request) -> HttpResponseBase:
        body = read_body(SubmitBody, request)
        user_id, asked = caller_id(request), body.asked()
        refuse_too_many_streams(user_id, Delivery.EVENTS)
        if isinstance(asked, ToolResults):
            conversation_id = find_chat(name=body.id, user_id=user_id)
            turn = answer_outputs(request, body, asked, conversation_id, user_id)
            stream_format = ui_message_stream(turn.reply_id, goes_on_in=asked.shown[-1].id)
        else:
            assert isinstance(asked, Question)
            turn = _answer_question(request, body, asked, user_id)
            stream_format = ui_message_stream(turn.reply_id)
        headers = {**HEADERS, **reply_headers(turn), **_located(turn.conversation_id)}
        return stream_turn(request._request, turn, stream_format, headers, user_id=user_id, resumes=False)


def _answer_question(request: Request, body: SubmitBody, question: Question, user_id: UUID) -> Turn:
    offered = body.offered()
    chat = open_chat(name=body.id, user_id=user_id, model_tag=body.model)
    if question.before and isinstance(chat, UUID):
        count_unsent_outputs(request, chat, question.before, question.outputs)
    return begin_turn(
        request,
        partial(_verb(body, question), before=question.before, outputs=question.outputs),
        delivery=Delivery.EVENTS,
        conversation_id=chat,
        change=model_change(chat, user_id, body.model),
        user_id=user_id,
        idempotency_key=question.id,
        when_busy=body.when_busy,
        content=question.content,
        sampling=body.sampling(),
        terms=Terms(options={"tools": offered} if offered else None),
    )


def _verb(body: SubmitBody, question: Question) -> Callable[..., Turn]:
    if body.trigger == REGENERATE:
        return partial(answer_again, is_edit=False)
    return partial(answer_again, is_edit=True) if body.messageId == question.id else answer_first


class ChatView(APIView):
    @operations.read_chat
    def get(self, request: Request, chat_id: str) -> Response:
        conversation_id = find_chat(name=chat_id, user_id=caller_id(request))
        title = read_title(conversation_id)
        messages, page = read_chat_page(conversation_id, request.query_params)
        chat = ChatDetailSchema.from_row({"id": chat_id, "title": title, "messages": messages})
        next_page = next_link(request.path, request.query_params, page.next)
        return Response(chat, headers={**_located(conversation_id), **next_page})

    @operations.change_chat
    def patch(self, request: Request, chat_id: str) -> Response:
        conversation_id, user_id = find_chat(name=chat_id, user_id=caller_id(request)), caller_id(request)
        changes = read_body(ChatPatchBody, request).chosen()
        row = update_conversation(("title",), conversation_id=conversation_id, user_id=user_id, changes=changes)
        return Response(ChatSchema.from_row({"id": chat_id, **row}), headers=_located(conversation_id))

    @operations.delete_chat
    def delete(self, request: Request, chat_id: str) -> Response:
        user_id = caller_id(request)
        delete_conversation(conversation_id=find_chat(name=chat_id, user_id=user_id), user_id=user_id)
        return Response(status=204)


def _located(conversation_id: UUID) -> dict[str, str]:
    return {"Content-Location": conversation_location(conversation_id)}


class ResumeView(APIView):
    @operations.resume
    def get(self, request: Request, chat_id: str) -> HttpResponseBase:
        try:
            reply_id = read_running_reply(find_chat(name=chat_id, user_id=caller_id(request)))
        except ConversationNotFound:
            # The SDK resumes a new chat before its first message.
            reply_id = None
        if reply_id is None:
            return Response(status=204)
        message_id, earlier = read_earlier_parts(reply_id) or (None, [])
        stream_format = ui_message_stream(reply_id, goes_on_in=message_id, repeats=earlier)
        return stream_reply(
            request._request, reply_id, stream_format, after=START, owner_id=caller_id(request), headers=HEADERS
        )


class StopView(APIView):
    @operations.stop
    def post(self, request: Request, chat_id: str) -> Response:
        key = read_stop_key(request)
        conversation_id = find_chat_to_stop(name=chat_id, user_id=caller_id(request), key=key)
        reply_id = None if conversation_id is None else _stop(conversation_id, key)
        if reply_id is None and key:
            return Response({"detail": STOPS_LATER}, status=202)
        if reply_id is None:
            raise ConversationNotFound if conversation_id is None else NothingToStop
        return Response(read_ui_message(reply_id))


def _stop(conversation_id: UUID, key: str) -> UUID | None:
    """Stop the reply to the send with this key or, if that reply called tools, the running reply to their outputs."""
    reply_id = stop_reply(conversation_id, key)
    running_id = read_running_reply(conversation_id) if key and reply_id is not None else None
    if running_id is None or first_reply_of_run(running_id) != reply_id:
        return reply_id
    return stop_reply(conversation_id)
