"""Begin the turn of a response or a chat completion, so that a request that is repeated asks its question once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.http import HttpRequest
from rest_framework.exceptions import APIException, Throttled
from rest_framework.request import Request

from chatapi.api.bodies import Body, read_json, read_object
from chatapi.api.views import APIView
from chatapi.auth.authentication import AuthUnavailable
from chatapi.service_error import ServiceError
from conversations.exceptions import GenerationInProgress
from conversations.models import Message
from conversations.services.replies.versions import end_at
from conversations.services.sending.begin import send_turn
from conversations.services.sending.brought_messages import (
    Said,
    add_messages,
    begin_with_model_list,
    send_in_transaction,
    send_turn_behind,
)
from conversations.services.sending.busy import begin_when_free
from conversations.services.sending.creation_keys import create_once
from conversations.services.sending.model_tags import require_allowed
from conversations.services.sending.retries import fingerprint_of
from conversations.services.sending.turn import Terms, Turn
from conversations.surfaces.callers import caller_id
from conversations.surfaces.openai.branches import BRANCH, branch_of, find_branch, lock_branch, split_history
from conversations.surfaces.openai.deleting import find_reply
from conversations.surfaces.openai.identifiers import read_conversation_id, read_response_id
from conversations.surfaces.openai.openings import open_conversation
from conversations.surfaces.openai.repeats import (
    Same,
    find_repeated_turn,
    forget_ended_turns,
    note_refused,
    note_unseen,
    take_refusal,
    wait_for_same_request,
)
from conversations.surfaces.openai.requests import SAMPLING_FIELDS, InputMessage, ResponseCreateBody
from conversations.surfaces.reply_delivery import Delivery
from conversations.surfaces.sending import refuse_too_many_streams
from inference_proxy.protocols.base import Sampling

# What the reply's row keeps of a request, so that the response shows it again.
KEPT = ("temperature", "max_output_tokens", "background", "instructions", "metadata", *SAMPLING_FIELDS)


# The header in which the `openai` packages count how often they have repeated a request. The first request says 0.
RETRY_COUNT = "HTTP_X_STAINLESS_RETRY_COUNT"
LONGEST_NOTED_BYTES = 64 * 1024

Asked = TypeVar("Asked", bound=Body)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn belongs: a conversation, and the response that it must follow. None: its history decides."""

    conversation_id: UUID | None = None
    after: UUID | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks, in whatever form it came."""

    user_id: UUID
    content: str
    # What the client says was said before, oldest first.
    earlier: Sequence[Said]
    sampling: Sampling
    terms: Terms
    place: Place
    is_temporary: bool = False

    def as_said(self) -> Said:
        call_id = self.terms.call_id
        return Said("tool" if call_id else "user", self.content, call_id=call_id)


def said_of(messages: Sequence[InputMessage]) -> list[Said]:
    return [Said(message.role, message.content, message.calls, message.call_id) for message in messages]


def read_question(kind: type[Asked], request: Request, surface: str) -> tuple[Asked, str]:
    """Return the body of a request, and its fingerprint: the same for equal bodies. Raises a 400."""
    given = read_json(request)
    body = read_object(kind, given)
    return body, fingerprint_of(surface, orjson.dumps(given, option=orjson.OPT_SORT_KEYS).hex())


def question_of(body: ResponseCreateBody, fingerprint: str, user_id: UUID) -> Question:
    """Return what a response is asked for. Raises `ConversationNotFound`, `ResponseNotFound`."""
    place = _place_of(body, user_id)
    return Question(
        user_id=user_id,
        content=body.input[-1].content,
        earlier=said_of(body.input[:-1]),
        sampling=body.sampling(),
        terms=_terms(body, place, fingerprint),
        place=place,
        is_temporary=body.store is False,
    )


def new_messages(question: Question) -> Sequence[Said]:
    """Return what a request brings that is not stored yet, besides its question. One query at most."""
    history, since = split_history(question.earlier)
    if question.place.conversation_id is not None or not history:
        return question.earlier
    is_known = find_branch(question.user_id, history, temporary=question.is_temporary) is not None
    return since if is_known else question.earlier


def begin_response(request: HttpRequest, question: Question, *, key: str, delivery: Delivery) -> Turn:
    """Begin the turn of a question, or return the turn that the same request has begun.

    Raises `ConversationNotFound`, `MessageNotFound`, `TooManyStreams`, and what `begin_when_free` raises.
    """
    same = Same(question.user_id, question.terms.fingerprint, question.place.conversation_id)
    is_repeated = not key and retry_count(request) > 0
    try:
        refuse_too_many_streams(question.user_id, delivery)
        if is_repeated and take_refusal(request, question.user_id, same.fingerprint):
            forget_ended_turns(same)
        return _begin(question, same, key=key, is_repeated=is_repeated)
    except ServiceError:
        if not key and not is_repeated:
            # This request saved nothing, and the package repeats it. An earlier turn with the same words is not its answer.
            forget_ended_turns(same)
        raise


def _begin(question: Question, same: Same, *, key: str, is_repeated: bool) -> Turn:
    earlier = find_repeated_turn(same) if is_repeated else None
    if earlier is not None:
        return earlier
    if question.place.conversation_id is None or question.earlier:
        # Before the transaction, because it may call the inference service.
        require_allowed(question.terms.model_tag)
    conversation_id = question.place.conversation_id
    if conversation_id is None:
        return begin_when_free(
            lambda: begin_with_model_list(lambda: _begin_anywhere(question, same, key, is_repeated=is_repeated))
        )

    def begin() -> Turn:
        if question.earlier:
            return send_turn_behind(brought=question.earlier, **_arguments(question, conversation_id, key))
        return send_turn(**_arguments(question, conversation_id, key))

    if not is_repeated:
        return begin_when_free(begin)
    try:
        return begin()
    except GenerationInProgress:
        # The request that this one repeats may have been saved in the meantime.
        earlier = find_repeated_turn(same)
        return earlier if earlier is not None else begin_when_free(begin)


def _begin_anywhere(question: Question, same: Same, key: str, *, is_repeated: bool) -> Turn:
    if not key:
        wait_for_same_request(same)
        begun = find_repeated_turn(same) if is_repeated else None
        if begun is not None:
            return begun
    said = [*question.earlier, question.as_said()]
    options = {**(question.terms.options or {}), BRANCH: branch_of(question.user_id, said)}
    question = replace(question, terms=replace(question.terms, options=options))
    return send_in_transaction(**_arguments(question, _find_or_open(question, key), key))


def _find_or_open(question: Question, key: str) -> UUID:
    """Return the conversation for a question that names none: the one with its history, or a new one."""
    history, since = split_history(question.earlier)

    def find_or_open() -> UUID:
        found = lock_branch(question.user_id, history, temporary=question.is_temporary) if history else None
        if found is None:
            return _open(question, key)
        end_at(Message.objects.in_conversation(found.conversation_id), found.answer_id)
        if since:
            add_messages(found.conversation_id, since)
        return found.conversation_id

    if not key or not history:
        return find_or_open()
    # The turn that this key began may run in the conversation, which then would not be found.
    return create_once(question.user_id, key, ["history", question.terms.fingerprint], find_or_open).id


def _open(question: Question, key: str) -> UUID:
    return open_conversation(
        user_id=question.user_id,
        history=question.earlier,
        model_tag=question.terms.model_tag,
        temporary=question.is_temporary,
        key=key,
    )


def _arguments(question: Question, conversation_id: UUID, key: str) -> dict[str, Any]:
    return {
        "conversation_id": conversation_id,
        "user_id": question.user_id,
        "content": question.content,
        "sampling": question.sampling,
        "idempotency_key": key,
        "terms": question.terms,
    }


def _place_of(body: ResponseCreateBody, user_id: UUID) -> Place:
    if body.conversation:
        return Place(read_conversation_id(body.conversation))
    if body.previous_response_id:
        previous_id = read_response_id(body.previous_response_id)
        return Place(find_reply(reply_id=previous_id, user_id=user_id), previous_id)
    return Place()


def _terms(body: ResponseCreateBody, place: Place, fingerprint: str) -> Terms:
    # Not by `==`: 0 is a choice, and equals False.
    options = {name: value for name in KEPT if (value := getattr(body, name)) not in (None, {}, "") and value is not False}
    if body.reasoning and body.reasoning.summary:
        options["reasoning_summary"] = body.reasoning.summary
    if effort := body.effort():
        options["reasoning_effort"] = effort
    if tools := body.offered():
        options["tools"] = tools
    if body.text:
        options["response_format"] = body.text
    if place.after is not None:
        options["previous_response_id"] = place.after.hex
    if (brought := len(body.input) - 1) > 0:
        options |= {"has_history": True} if place.conversation_id is None else {"brought": brought}
    return Terms(
        instructions=body.instructions or "",
        model_tag=body.model or "",
        after=place.after,
        fingerprint=fingerprint,
        options=options,
        call_id=body.input[-1].call_id,
    )


# A view whose requests the `openai` packages repeat: one that is over its user's rate is noted. No docstring: it would be the
# description of the operations.
class RepeatedRequests(APIView):
    body: type[Body]
    surface: str

    @classmethod
    def note_unseen(cls, request: HttpRequest) -> None:
        if _may_be_repeated(request):
            note_unseen(request)

    def handle_exception(self, exc: Exception) -> Any:
        if _may_be_repeated(self.request):
            if isinstance(exc, Throttled):
                self._note_refused()
            elif isinstance(exc, AuthUnavailable):
                note_unseen(self.request)
        return super().handle_exception(exc)

    def _note_refused(self) -> None:
        length = self.request.META.get("CONTENT_LENGTH", "")
        # A client over its rate must not make the service parse long bodies.
        if length.isdigit() and int(length) <= LONGEST_NOTED_BYTES:
            # A body that is not a question is refused again when it is repeated.
            with suppress(APIException):
                _, fingerprint = read_question(self.body, self.request, self.surface)
                note_refused(caller_id(self.request), fingerprint)


def _may_be_repeated(request: HttpRequest) -> bool:
    """Say whether a package of `openai` makes this request for the first time, and without an Idempotency-Key."""
    is_first = request.method == "POST" and RETRY_COUNT in request.META and retry_count(request) == 0
    return is_first and not request.META.get("HTTP_IDEMPOTENCY_KEY")


def retry_count(request: HttpRequest) -> int:
    count = request.META.get(RETRY_COUNT, "")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 4 else 0
