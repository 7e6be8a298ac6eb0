"""What a chat completion asks, and where."""

from itertools import takewhile
from uuid import UUID

from django.http import HttpRequest

from conversations.services.sending.context import SEPARATOR
from conversations.services.sending.turn import Terms
from conversations.surfaces.openai.asking import Place, Question, said_of
from conversations.surfaces.openai.branches import split_history
from conversations.surfaces.openai.chat.requests import CompletionCreateBody
from conversations.surfaces.openai.identifiers import read_conversation_id
from inference_proxy.protocols.base import OPENAI_FIELDS

# What the reply's row keeps of a request, so that the surface can show it as a response, and staff can see it.
KEPT = ("temperature", "metadata", *OPENAI_FIELDS)


def limit_header(question: Question) -> dict[str, str]:
    """Return the header that says how long the answer may be, which is less than the request says if that is too much."""
    most = question.sampling.max_tokens
    return {} if most is None else {"X-Max-Completion-Tokens": str(most)}


def question_of(body: CompletionCreateBody, fingerprint: str, request: HttpRequest, user_id: UUID) -> Question:
    """Return what a chat completion is asked for. Raises `ConversationNotFound`.

    System messages before all others hold for this turn only: many programs write the time into them. In a conversation
    that the request names, only what was said since the last answer is new.
    """
    *earlier, question = said_of(body.messages)
    prompts = list(takewhile(lambda said: said.role == "system", earlier))
    earlier = earlier[len(prompts) :]
    instructions = SEPARATOR.join(filter(None, (prompt.content for prompt in prompts)))
    named = request.META.get("HTTP_X_CONVERSATION_ID", "")
    place = Place(read_conversation_id(named)) if named else Place()
    options = {name: value for name in KEPT if (value := getattr(body, name)) not in (None, {})}
    if instructions:
        options["instructions"] = instructions
    if tools := body.offered():
        options["tools"] = tools
    most = body.sampling().max_tokens
    if most is not None:
        options["max_output_tokens"] = most
    if earlier and not named:
        options["has_history"] = True
    return Question(
        user_id=user_id,
        content=question.content,
        earlier=split_history(earlier)[1] if named else earlier,
        sampling=body.sampling(),
        terms=Terms(
            instructions=instructions,
            model_tag=body.model or "",
            fingerprint=fingerprint,
            options=options,
            call_id=question.call_id,
        ),
        place=place,
        is_temporary=body.store is False,
    )
