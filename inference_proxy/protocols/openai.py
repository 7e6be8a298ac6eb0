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
    read_usage,
)
from inference_proxy.protocols.compatibility import compatibility
from inference_proxy.protocols.endings import is_word, reports_failure
from inference_proxy.protocols.event_values import (
    TokenCleaner,
    encode_object,
    load_object,
    load_spelled,
    text_of,
    without_unstorable,
)
from inference_proxy.protocols.tool_calls import CallCollector, ToolCall

# Why a model ended that refused to answer.
REFUSAL = "refusal"
# What ordinary events have. Those with other fields are searched for signs of a failure.
ORDINARY_FIELDS = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "provider", "obfuscation")
)


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
        if data[:1] != b"{" and data.lstrip()[:1] != b"{":
            return read_other(data)
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
        # llama.cpp's count and Groq's. OpenAI's own comes after them, and counts.
        read_usage(event.get("timings"), delta)
        if isinstance(groq := event.get("x_groq"), dict):
            read_usage(groq.get("usage"), delta)

    def _read_choice(self, choice: Any, delta: Delta, data: bytes) -> None:
        changes = (choice.get("delta") or {}) if isinstance(choice, dict) else None
        if not isinstance(changes, dict):
            raise UpstreamError
        content = changes.get("content")
        if len(changes) > 1 or not isinstance(content, str):
            # Most events have a piece of text and nothing else.
            content = self._take_the_rest(changes, delta, data)
        if content:
            self._take_text(content, delta)
        if len(choice) > 3:
            # Most servers add `logprobs` alone.
            if choice.get("error"):
                raise UpstreamError
            if "usage" in choice:
                read_usage(choice["usage"], delta)
        word = choice.get("finish_reason")
        if word is not None and is_word(word):
            self._ending.note(word, delta)
            if delta.finish_reason and self._has_refused:
                # A server says `stop` of a refusal, too.
                delta.finish_reason = REFUSAL
        elif content or delta.reasoning or delta.calls_tool:
            self._ending.has_open_text = True
            self._ending.is_certain = False

    def _take_the_rest(self, changes: dict[str, Any], delta: Delta, data: bytes) -> str:
        """Read what else a choice may bring, and return its text."""
        content = changes.get("content")
        if isinstance(content, int | float):
            content = text_of(load_spelled(data)["choices"][0]["delta"]["content"])
        # vLLM and Ollama call it `reasoning`; SGLang, llama.cpp and DeepSeek `reasoning_content`; some send both, the same.
        reasoning = changes.get("reasoning_content") or changes.get("reasoning") or ""
        refusal = changes.get("refusal")
        if isinstance(content, list):
            reasoning, content, refusal = _join_parts(content)
        if content is not None and not isinstance(content, str):
            raise UpstreamError
        if refusal and isinstance(refusal, str):
            self._has_refused = True
            delta.finish_reason = REFUSAL
            content = (content or "") + refusal
        if reasoning and isinstance(reasoning, str):
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
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choice := choices[0], dict) and "delta" not in choice:
            choice["delta"] = choice.pop("message", None) or {"content": choice.get("text")}
            data = encode_object(event)
        return [data, b"[DONE]"]

    def may_end_here(self, *, is_clean: bool = False) -> bool:
        return self._ending.may_end_here(is_clean=is_clean)

    def read_models(self, answer: dict[str, Any]) -> dict[str, Any]:
        listed = answer.get("data")
        listed = listed if isinstance(listed, list) else []
        names = [without_unstorable(str(model.get("id"))) for model in listed if isinstance(model, dict)]
        current = settings.INFERENCE_MODEL or (names[0] if names else "")
        models = [{"model_tag": name, "source": "openai", "path": "", "loaded": name == current} for name in names]
        return {"current_model": current, "models": models}


def _join_parts(parts: list[Any]) -> tuple[str, str, str]:
    """Return the reasoning, the text and the refusal in a content of parts, as Mistral sends it. Raises `UpstreamError`."""
    joined = {"thinking": "", "text": "", "refusal": ""}
    for part in parts:
        if not isinstance(part, dict):
            raise UpstreamError
        kind = part.get("type")
        if kind not in ("thinking", "text", "refusal"):
            # A reference to a source, say.
            continue
        said = part.get(kind)
        if isinstance(said, list):
            # The thinking is a list of parts, too.
            said = "".join(inner["text"] for inner in said if isinstance(inner, dict) and isinstance(inner.get("text"), str))
        if isinstance(said, str):
            joined[kind] += said
    return joined["thinking"], joined["text"], joined["refusal"]
