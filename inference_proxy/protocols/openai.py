"""Any server with OpenAI's chat completions: `POST /v1/chat/completions`, `stream: true`."""

from typing import Any

import orjson
from django.conf import settings

from inference_proxy.exceptions import UpstreamError
from inference_proxy.protocols.base import (
    Delta,
    GenerationRequest,
    TokenCleaner,
    clean_label,
    fill_in,
    load_object,
    whole_number,
    without_unstorable,
)


class OpenAI:
    max_message_characters: int | None = None
    max_total_characters: int | None = None
    has_system_role = True
    chooses_model = True
    path = "/v1/chat/completions"
    models_path = "/v1/models"
    swap_path: str | None = None

    def __init__(self) -> None:
        self._finish_reason = ""
        self._cleaner = TokenCleaner()
        self._reasoning_cleaner = TokenCleaner()

    def headers(self) -> dict[str, str]:
        headers = {"X-Internal-API-Key": settings.INTERNAL_API_KEY}
        if settings.INFERENCE_API_KEY:
            headers["Authorization"] = f"Bearer {settings.INFERENCE_API_KEY}"
        return headers

    def body(self, request: GenerationRequest) -> dict[str, Any]:
        system = [{"role": "system", "content": request.system_prompt}] if request.system_prompt else []
        model = settings.INFERENCE_MODEL if request.model_tag in ("", "default") else request.model_tag
        sampling = fill_in(request.sampling)
        optional = {
            "model": model or None,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            # OpenAI has no top_k, but llama.cpp, vLLM and others do. It is sent only if someone chose it.
            "top_k": sampling.top_k,
        }
        return {
            "messages": system + request.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in optional.items() if value is not None},
        }

    def read_event(self, data: bytes) -> Delta:
        if data.strip() == b"[DONE]":
            return Delta(is_end=True)
        event = load_object(data)
        if event.get("error"):
            raise UpstreamError
        delta = Delta()
        if isinstance(usage := event.get("usage"), dict):
            delta.prompt_tokens = whole_number(usage.get("prompt_tokens"))
            delta.completion_tokens = whole_number(usage.get("completion_tokens"))
        # Servers send the usage in an event of its own, some without choices or with null.
        choices = event.get("choices")
        if choices is not None and not isinstance(choices, list):
            raise UpstreamError
        if choices:
            self._read_choice(choices[0], delta)
        return delta

    def _read_choice(self, choice: Any, delta: Delta) -> None:
        changes = (choice.get("delta") or {}) if isinstance(choice, dict) else None
        if not isinstance(changes, dict):
            raise UpstreamError
        content = changes.get("content")
        if content is not None and not isinstance(content, str):
            raise UpstreamError
        # vLLM and Ollama call it `reasoning`; SGLang, llama.cpp and DeepSeek `reasoning_content`; some send both, the same.
        reasoning = changes.get("reasoning_content") or changes.get("reasoning")
        if reasoning and isinstance(reasoning, str):
            delta.reasoning = self._reasoning_cleaner.clean(reasoning)
        if content:
            delta.text = self._cleaner.clean(content)
        if delta.text:
            delta.payload = orjson.dumps({"token": delta.text})
        if reason := clean_label(choice.get("finish_reason")):
            self._finish_reason = delta.finish_reason = reason

    def may_end_here(self) -> bool:
        return bool(self._finish_reason)

    def read_models(self, answer: dict[str, Any]) -> dict[str, Any]:
        listed = answer.get("data")
        listed = listed if isinstance(listed, list) else []
        names = [without_unstorable(str(model.get("id"))) for model in listed if isinstance(model, dict)]
        current = settings.INFERENCE_MODEL or (names[0] if names else "")
        models = [{"model_tag": name, "source": "openai", "path": "", "loaded": name == current} for name in names]
        return {"current_model": current, "models": models}
