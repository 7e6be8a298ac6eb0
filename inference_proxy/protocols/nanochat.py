"""The platform's own inference service: `POST /generate`, `data: {"token": "…", "gpu": 0}` … `data: {"done": true}`."""

from typing import Any
from uuid import UUID

from django.conf import settings

from inference_proxy.exceptions import Refusal, UpstreamError
from inference_proxy.protocols.base import (
    Delta,
    Ending,
    GenerationRequest,
    fill_in,
    messages_to_continue,
    new_think_tags,
    read_other,
)
from inference_proxy.protocols.endings import finish_word, reports_failure
from inference_proxy.protocols.event_values import (
    TokenCleaner,
    encode_object,
    load_event,
    load_object,
    load_spelled,
    name_of,
    text_of,
    without_doubled_field,
    without_unstorable,
)
from inference_proxy.protocols.tool_calls import ToolCall

# The service refuses longer messages, and longer conversations.
MAX_MESSAGE_CHARACTERS = 8_000
MAX_TOTAL_CHARACTERS = 32_000
# Kept free of the total for what sending system text as user messages adds.
FOLDING_RESERVE_CHARACTERS = 1_000
SEPARATOR = "\n\n"
ACKNOWLEDGEMENT = "Understood."
DEFAULT_TEMPERATURE = 0.8
DEFAULT_MAX_TOKENS = 512
DEFAULT_TOP_K = 50
# What the event of a token has, and what others may have. Those with other fields are searched for signs of a failure.
TOKEN_FIELDS = frozenset(("token", "gpu"))
ORDINARY_FIELDS = frozenset(("token", "gpu", "done", "reasoning"))
# Where the text is in an answer that is one document.
DOCUMENT_TEXTS = ("text", "response", "content", "output", "generated_text", "message")


class Nanochat:
    max_message_characters: int | None = MAX_MESSAGE_CHARACTERS
    max_total_characters: int | None = MAX_TOTAL_CHARACTERS - FOLDING_RESERVE_CHARACTERS
    has_system_role = False
    takes_reasoning = False
    chooses_model = False
    sampling_fields: tuple[str, ...] = ()
    takes_tools = False
    models_path = "/models"
    swap_path: str | None = "/models/swap"

    def __init__(self) -> None:
        self._ending = Ending()
        self._cleaner = TokenCleaner()
        self._reasoning_cleaner = TokenCleaner()
        # None as soon as all that follows is text.
        self.tags_of = ""
        self._tags = new_think_tags()

    @property
    def path(self) -> str:
        return str(settings.INFERENCE_GENERATE_PATH)

    def headers(self) -> dict[str, str]:
        return {"X-Internal-API-Key": settings.INTERNAL_API_KEY} if settings.INFERENCE_SEND_INTERNAL_KEY else {}

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        self.tags_of = request.model_tag
        self._tags = new_think_tags(request.model_tag)
        sampling = fill_in(request.sampling)
        body = {
            "messages": fold_system_messages(request.system_prompt, messages_to_continue(request)),
            "temperature": DEFAULT_TEMPERATURE if sampling.temperature is None else sampling.temperature,
            "max_tokens": DEFAULT_MAX_TOKENS if sampling.max_tokens is None else sampling.max_tokens,
            "top_k": DEFAULT_TOP_K if sampling.top_k is None else sampling.top_k,
        }
        return {**body, "force_web_search": True} if sampling.force_web_search else body

    def body_after(self, body: dict[str, Any], refusal: Refusal) -> dict[str, Any] | None:
        return None

    def note_taken(self, refused: dict[str, Any], taken: dict[str, Any]) -> None:
        pass

    def read_event(self, data: bytes) -> Delta:
        if data[:1] != b"{" and (data := without_doubled_field(data)).lstrip()[:1] != b"{":
            return read_other(data)
        event, is_strict = load_event(data)
        if is_strict and TOKEN_FIELDS.issuperset(event) and self._tags is None and isinstance(event.get("token"), str):
            return self._read_token(data, event)
        model = None
        if not ORDINARY_FIELDS.issuperset(event):
            if reports_failure(event):
                raise UpstreamError
            if word := finish_word(event.get("finish_reason")):
                return self._read_finish(event, word)
            model = event.get("model") or event.get("model_tag")
        # `done` is never relayed: clients are told of the end when the reply is saved.
        is_unchanged = is_strict and "done" not in event and "reasoning" not in event and "tool_call" not in event
        is_end = bool(event.pop("done", False))
        # What would look like a frame of ours.
        event.pop("tool_call", None)
        token = event.get("token")
        if token is not None and not isinstance(token, str):
            if not isinstance(token, int | float):
                raise UpstreamError
            token = event["token"] = text_of(load_spelled(data)["token"])
            is_unchanged = False
        reasoning = self._take_reasoning(event) if "reasoning" in event else ""
        text = self._cleaner.clean(token or "")
        if self._tags is not None:
            thought, text = self._tags.split(text)
            reasoning += thought
            if self._tags.is_over:
                self._tags = None
        if text:
            is_unchanged = is_unchanged and text == token
            event["token"] = text
        elif is_end or "token" in event or not event:
            return Delta(is_end=is_end, reasoning=reasoning, model=name_of(model))
        payload = _in_one_line(data) if is_unchanged else encode_object(event)
        return Delta(payload=payload, text=text, reasoning=reasoning, is_end=is_end, model=name_of(model))

    def _read_token(self, data: bytes, event: dict[str, Any]) -> Delta:
        """Read an event that has a token and nothing else to tell: most of them."""
        token = event["token"]
        text = self._cleaner.clean(token)
        if text == token:
            return Delta(_in_one_line(data), text) if text else Delta()
        return Delta(encode_object({**event, "token": text}), text) if text else Delta()

    def _read_finish(self, event: dict[str, Any], word: str) -> Delta:
        """Read an event that says why the reply ended. Its word is told in `done`, and not relayed."""
        del event["finish_reason"]
        delta = self.read_event(encode_object(event))
        self._ending.note(word, delta)
        return delta

    def _take_reasoning(self, event: dict[str, Any]) -> str:
        """Take the reasoning out of an event: its frames are made elsewhere."""
        reasoning = event.pop("reasoning")
        if reasoning and self._tags is not None:
            self._tags.has_channel = True
        return self._reasoning_cleaner.clean(reasoning) if isinstance(reasoning, str) else ""

    def flush(self, *, is_whole: bool = False) -> Delta:
        reasoning, text = ("", "") if self._tags is None else self._tags.flush(is_whole=is_whole)
        return Delta(payload=encode_object({"token": text}) if text else None, text=text, reasoning=reasoning)

    def tool_calls(self, reply_id: UUID, *, was_cut: bool) -> tuple[ToolCall, ...]:
        return ()

    def events_of_document(self, data: bytes) -> list[bytes]:
        event = load_object(data)
        if "token" not in event:
            said = next((event.pop(name) for name in DOCUMENT_TEXTS if isinstance(event.get(name), str)), None)
            event = {**event, "token": said}
        return [encode_object(event), b"[DONE]"]

    def may_end_here(self, *, is_clean: bool = False) -> bool:
        return False

    def read_models(self, answer: dict[str, Any]) -> dict[str, Any]:
        listed, current = answer.get("models"), answer.get("current_model")
        models = [
            {**model, "model_tag": tag}
            for model in (listed if isinstance(listed, list) else [])
            if isinstance(model, dict) and (tag := _model_tag(model.get("model_tag")))
        ]
        return {**answer, "current_model": _model_tag(current) or None, "models": models}


def _model_tag(value: Any) -> str:
    return without_unstorable(value) if isinstance(value, str) else ""


def _in_one_line(data: bytes) -> bytes:
    # Data that came in several lines is sent in one. Between JSON's tokens, a space means the same as a line break.
    return data.replace(b"\n", b" ")


def fold_system_messages(system_prompt: str, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return messages of only `user` and `assistant`, none of them cut and none over the limit for the sake of system text.

    System text is put before the user message that follows it. Where both are too long for one message, the system text
    becomes a user message of its own, with a short answer, so that roles alternate.
    """
    folded: list[dict[str, str]] = []
    pending = [system_prompt] if system_prompt else []
    for message in messages:
        if message["role"] == "system":
            pending.append(message["content"])
            continue
        if message["role"] == "user" and pending:
            content = SEPARATOR.join([*pending, message["content"]])
            if len(content) <= MAX_MESSAGE_CHARACTERS:
                message = {"role": "user", "content": content}
            else:
                for text in pending:
                    folded += [{"role": "user", "content": text}, {"role": "assistant", "content": ACKNOWLEDGEMENT}]
            pending = []
        folded.append(message)
    return folded
