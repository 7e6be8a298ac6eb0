"""Any server with OpenAI's chat completions: `POST …/chat/completions`, `stream: true`.

Servers differ in how they send what a model thinks, its refusals, and the end of a reply; this module knows the forms.
"""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.conf import settings

from inference_proxy.exceptions import Refusal, UpstreamError
from inference_proxy.protocols.base import (
    OPENAI_FIELDS,
    Delta,
    Ending,
    GenerationRequest,
    fill_in,
    messages_to_continue,
    new_think_tags,
    prefills,
    read_other,
)
from inference_proxy.protocols.compatibility import compatibility
from inference_proxy.protocols.endings import finish_word, has_error, is_keepalive, reports_failure
from inference_proxy.protocols.event_values import (
    TokenCleaner,
    encode_object,
    load_object,
    load_spelled,
    text_of,
    without_doubled_field,
    without_unstorable,
)
from inference_proxy.protocols.openai_forms import changes_in, choices_of_document, join_parts, model_names, reasoning_of
from inference_proxy.protocols.token_counts import PLACES, read_usage, read_usage_elsewhere
from inference_proxy.protocols.tool_calls import CallCollector, ToolCall

# Why a model ended that refused to answer.
REFUSAL = "refusal"
# What ordinary events have. Those with other fields are searched for signs of a failure.
ORDINARY_FIELDS = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "provider", "obfuscation")
)
# An event with none of these is no piece of a reply.
PIECE_FIELDS = frozenset(("choices", "usage", *PLACES))
ORDINARY_CHOICE_FIELDS = frozenset(("index", "delta", "finish_reason", "logprobs"))
# Where else a choice may say why it ended.
FINISH_FIELDS = ("finishReason", "finish_details", "done_reason")


def _version() -> str:
    """Return "" where the base URL has a path: providers document theirs whole, such as `/v1` or `/v1beta/openai`."""
    return "" if urlsplit(settings.INFERENCE_SERVICE_URL).path else "/v1"


class OpenAI:
    max_message_characters: int | None = None
    max_total_characters: int | None = None
    has_system_role = True
    takes_reasoning = True
    chooses_model = True
    sampling_fields: tuple[str, ...] = OPENAI_FIELDS
    takes_tools = True
    swap_path: str | None = None

    def __init__(self) -> None:
        self._ending = Ending()
        self._cleaner = TokenCleaner()
        self._reasoning_cleaner = TokenCleaner()
        # None as soon as all that follows is text.
        self.tags_of = ""
        self._tags = new_think_tags()
        self._has_refused = False
        # None if the request offers no tools.
        self._calls: CallCollector | None = None

    @property
    def path(self) -> str:
        return _version() + "/chat/completions"

    @property
    def models_path(self) -> str:
        return _version() + "/models"

    def headers(self) -> dict[str, str]:
        headers = {}
        # This server is usually someone else's: our services' shared key is not for it.
        if settings.INFERENCE_SEND_INTERNAL_KEY:
            headers["X-Internal-API-Key"] = settings.INTERNAL_API_KEY
        if settings.INFERENCE_API_KEY:
            headers["Authorization"] = f"Bearer {settings.INFERENCE_API_KEY}"
        return headers

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        system = [{"role": "system", "content": request.system_prompt}] if request.system_prompt else []
        model = settings.INFERENCE_MODEL if request.model_tag in ("", "default") else request.model_tag
        self.tags_of = model
        self._tags = new_think_tags(model)
        sampling = fill_in(request.sampling)
        optional = {
            "model": model or None,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            # OpenAI has no top_k, but llama.cpp, vLLM and others do. It is sent only if someone chose it.
            "top_k": sampling.top_k,
            **{name: getattr(sampling, name) for name in OPENAI_FIELDS},
        }
        body: dict[str, Any] = {
            "messages": system + messages_to_continue(request),
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in optional.items() if value is not None},
            **(sampling.tools or {}),
        }
        self._calls = CallCollector() if sampling.tools else None
        if request.continues and prefills(model):
            # vLLM's names. Without the instruction, the last message is the model's own.
            body |= {"messages": body["messages"][:-1], "continue_final_message": True, "add_generation_prompt": False}
            self._tags = None
        return compatibility.change(body)

    def body_after(self, body: dict[str, Any], refusal: Refusal) -> dict[str, Any] | None:
        return compatibility.change_after(body, refusal)

    def note_taken(self, refused: dict[str, Any], taken: dict[str, Any]) -> None:
        compatibility.learn(refused, taken)

    def read_event(self, data: bytes) -> Delta:
        if data[:1] != b"{" and (data := without_doubled_field(data)).lstrip()[:1] != b"{":
            delta = read_other(data)
            if delta.is_end:
                self._ending.note_marker(delta)
            return delta
        event = load_object(data)
        # Most events name the model.
        delta = Delta(model=event.get("model") or "")
        choices = event.get("choices")
        if not choices or not ORDINARY_FIELDS.issuperset(event):
            self._read_unusual(event, delta)
        if (usage := event.get("usage")) is not None:
            read_usage(usage, delta)
        # Servers send the usage in an event of its own, some without choices or with null.
        if choices is not None and not isinstance(choices, list):
            raise UpstreamError
        if choices:
            self._read_choice(choices[0], delta, data)
        return delta

    def _read_unusual(self, event: dict[str, Any], delta: Delta) -> None:
        if reports_failure(event):
            raise UpstreamError
        read_usage_elsewhere(event, delta)
        if event.get("done") is True and "choices" not in event:
            delta.is_end = True
            self._ending.note_marker(delta)
        elif not ORDINARY_FIELDS.issuperset(event) and PIECE_FIELDS.isdisjoint(event) and not is_keepalive(event):
            self._ending.has_foreign_event = True

    def _read_choice(self, choice: Any, delta: Delta, data: bytes) -> None:
        if not isinstance(choice, dict):
            raise UpstreamError
        is_unusual = not ORDINARY_CHOICE_FIELDS.issuperset(choice)
        if is_unusual:
            self._read_unusual_choice(choice, delta)
        changes = choice.get("delta") or {}
        if not isinstance(changes, dict):
            changes = changes_in(changes)
        content = changes.get("content")
        if len(changes) > 1 or not isinstance(content, str):
            # Most events have a piece of text and nothing else.
            content = self._take_the_rest(changes, delta, data)
        if content:
            self._take_text(content, delta)
        reason = choice.get("finish_reason")
        if reason is None and is_unusual:
            reason = next((choice[name] for name in FINISH_FIELDS if name in choice), None)
        if reason is not None and (word := finish_word(reason)):
            self._ending.note(word, delta)
            if delta.finish_reason and self._has_refused:
                # A server says `stop` of a refusal, too.
                delta.finish_reason = REFUSAL
        elif content or delta.reasoning or delta.calls_tool:
            self._ending.has_open_text = True
            self._ending.is_certain = False

    def _read_unusual_choice(self, choice: dict[str, Any], delta: Delta) -> None:
        if has_error(choice) or has_error(choice.get("message")):
            raise UpstreamError
        read_usage(choice.get("usage"), delta)
        if "delta" not in choice:
            # A server that only pretends to stream sends a message, or the older form's text.
            text = choice.get("text")
            choice["delta"] = choice.get("message") or ({"content": text} if isinstance(text, str) else None)

    def _take_the_rest(self, changes: dict[str, Any], delta: Delta, data: bytes) -> str:
        """Read what else a choice may bring, and return its text."""
        if has_error(changes):
            raise UpstreamError
        content = changes.get("content")
        if isinstance(content, int | float):
            choice = load_spelled(data)["choices"][0]
            content = text_of((choice.get("delta") or choice["message"])["content"])
        reasoning = reasoning_of(changes)
        refusal = changes.get("refusal")
        if isinstance(content, list | dict):
            thought, content, refusal = join_parts(content)
            reasoning = thought or reasoning
        if content is not None and not isinstance(content, str):
            raise UpstreamError
        if refusal and isinstance(refusal, str):
            self._has_refused = True
            delta.finish_reason = REFUSAL
            content = (content or "") + refusal
        if reasoning:
            delta.reasoning = self._reasoning_cleaner.clean(reasoning)
            if self._tags is not None:
                self._tags.has_channel = True
        delta.calls_tool = bool(changes.get("tool_calls") or changes.get("function_call"))
        if delta.calls_tool and self._calls is not None:
            self._take_calls(self._calls, changes)
        return content or ""

    def _take_calls(self, calls: CallCollector, changes: dict[str, Any]) -> None:
        if changes.get("tool_calls"):
            calls.add(changes["tool_calls"])
        else:
            calls.add_function(changes["function_call"])

    def tool_calls(self, reply_id: UUID, *, was_cut: bool) -> tuple[ToolCall, ...]:
        return () if self._calls is None else self._calls.calls(reply_id, was_cut=was_cut)

    def _take_text(self, content: str, delta: Delta) -> None:
        text = self._cleaner.clean(content)
        if self._tags is not None:
            thought, text = self._tags.split(text)
            delta.reasoning += thought
            if self._tags.is_over:
                self._tags = None
        if text:
            delta.text = text
            delta.payload = orjson.dumps({"token": text, "refusal": True} if self._has_refused else {"token": text})

    def flush(self, *, is_whole: bool = False) -> Delta:
        reasoning, text = ("", "") if self._tags is None else self._tags.flush(is_whole=is_whole)
        return Delta(payload=orjson.dumps({"token": text}) if text else None, text=text, reasoning=reasoning)

    def events_of_document(self, data: bytes) -> list[bytes]:
        event = load_object(data)
        if choices := choices_of_document(event):
            data = encode_object({**event, "choices": choices})
        return [data, b"[DONE]"]

    def may_end_here(self, *, is_clean: bool = False) -> bool:
        return self._ending.may_end_here(is_clean=is_clean)

    def read_models(self, answer: dict[str, Any]) -> dict[str, Any]:
        names = [without_unstorable(name) for name in model_names(answer)]
        current = settings.INFERENCE_MODEL or (names[0] if names else "")
        models = [{"model_tag": name, "source": "openai", "path": "", "loaded": name == current} for name in names]
        return {"current_model": current, "models": models}
