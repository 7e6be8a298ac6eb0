"""Forms that servers send beside OpenAI's own: content in parts, names for thoughts, whole documents, lists of models."""

from typing import Any

from inference_proxy.exceptions import UpstreamError

# vLLM and Ollama call it `reasoning`; SGLang, llama.cpp and DeepSeek `reasoning_content`; some send several, the same.
REASONING_NAMES = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "thought",
    "reasoning_details",
    "thinking_blocks",
)
# What a part of content may be, and which of a reply's channels it belongs to.
KINDS = {"thinking": "thinking", "text": "text", "output_text": "text", "refusal": "refusal", None: "text"}
# Where a part of a thought has its text.
THOUGHT_TEXTS = ("text", "thinking", "summary", "content")
# What gateways put around the document of the server behind them.
WRAPPERS = ("data", "result", "response", "output")
# Where the models are in a list of them, and what a model is called there.
MODEL_LISTS = ("data", "models", "result")
MODEL_NAMES = ("id", "name", "model", "model_id")
# Where the text is in a document without choices.
DOCUMENT_TEXTS = ("message", "response", "output_text", "generated_text", "content", "text")


def reasoning_of(changes: dict[str, Any]) -> str:
    """Return the thought in a delta or a message."""
    for name in REASONING_NAMES:
        if thought := _thought_in(changes.get(name)):
            return thought
    return ""


def _thought_in(value: Any) -> str:
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else [value]
    found = (part.get(name) for part in parts if isinstance(part, dict) for name in THOUGHT_TEXTS)
    return "".join(text for text in found if isinstance(text, str))


def join_parts(content: list[Any] | dict[str, Any]) -> tuple[str, str, str]:
    """Return the reasoning, the text and the refusal in a content of parts, as Mistral sends it. Raises `UpstreamError`."""
    joined = {"thinking": "", "text": "", "refusal": ""}
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            joined["text"] += part
            continue
        if not isinstance(part, dict):
            raise UpstreamError
        kind = part.get("type")
        if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
            # A reference to a source, say.
            continue
        joined[KINDS[kind]] += _text_in(part.get(KINDS[kind]))
    return joined["thinking"], joined["text"], joined["refusal"]


def _text_in(said: Any) -> str:
    """Return a part's text: itself, in an object, or in a list of parts, as thinking has it."""
    if isinstance(said, list):
        return "".join(map(_text_in, (inner.get("text") for inner in said if isinstance(inner, dict))))
    if isinstance(said, dict):
        said = said.get("value") or said.get("text")
    return said if isinstance(said, str) else ""


def changes_in(said: Any) -> dict[str, Any]:
    """Return a delta or a message that is a bare text, or a list of parts, as an object. Raises `UpstreamError`."""
    if not isinstance(said, str | list):
        raise UpstreamError
    return {"content": said}


def choices_of_document(event: dict[str, Any]) -> list[Any]:
    """Return the choices of an answer that is one document, in a form that a stream could have. [] if it has none.

    The document may be inside another, or have its text in another dialect's field.
    """
    inner = [own for name in WRAPPERS if isinstance(own := event.get(name), dict)]
    for document in (event, *inner):
        choices = document.get("choices")
        if isinstance(choices, list) and choices:
            return choices
    for document in (event, *inner):
        for name in DOCUMENT_TEXTS:
            said = document.get(name)
            message = changes_in(said) if isinstance(said, str | list) else said
            if isinstance(message, dict) and message.get("content") and not _is_wrapper(message):
                reason = document.get("finish_reason") or document.get("stop_reason") or document.get("done_reason")
                return [{"delta": message, "finish_reason": reason}]
    return []


def _is_wrapper(message: dict[str, Any]) -> bool:
    return "choices" in message or "error" in message


def model_names(answer: dict[str, Any]) -> list[str]:
    """Return the names in a list of models."""
    listed = next((found for name in MODEL_LISTS if isinstance(found := answer.get(name), list)), [])
    return [name for model in listed if (name := _model_name(model))]


def _model_name(model: Any) -> str:
    if isinstance(model, dict):
        model = next((name for field in MODEL_NAMES if isinstance(name := model.get(field), str)), None)
    return model if isinstance(model, str) else ""
