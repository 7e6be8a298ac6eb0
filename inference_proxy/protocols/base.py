"""What an inference protocol is: how to ask, and how to read each event of the answer."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import orjson
from django.conf import settings

from inference_proxy.exceptions import Refusal, UpstreamError
from inference_proxy.protocols.endings import KEEPALIVE, finish_reason_of
from inference_proxy.protocols.event_values import clean_label
from inference_proxy.protocols.think_tags import PAIRS, ThinkTags
from inference_proxy.protocols.thought_beginnings import thought_beginnings

if TYPE_CHECKING:
    from inference_proxy.protocols.tool_calls import ToolCall

# For services that always begin a new message.
CONTINUE_INSTRUCTION = (
    "Your last message was cut off. Continue it exactly where it ends. Do not repeat any of it, and do not introduce or "
    "comment on the rest."
)
# What services call the end of a stream. Only OpenAI's own word has brackets everywhere.
END_WORDS = ("[DONE]", "DONE", "[EOS]", "EOS", "<DONE>", "[END]")
# A JSON text or a bare word that is no piece of a reply, but says that something went wrong.
FAILURE_WORDS = re.compile(r"error|exception|fail|traceback|denied|unavailable|timeout|timed out|exceeded|overload|abort", re.I)

# What OpenAI's requests choose beside temperature and length.
OPENAI_FIELDS = ("top_p", "stop", "seed", "frequency_penalty", "presence_penalty", "response_format", "reasoning_effort")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to make a reply; None leaves the choice to the protocol's or the service's default."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_k: int | None = None
    thinking_mode: bool = False
    force_web_search: bool = False
    # Only for protocols that have them, see `InferenceProtocol.sampling_fields`.
    top_p: float | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    # Only for protocols that take tools: `tools`, and perhaps `tool_choice` and `parallel_tool_calls`, as in a chat completion.
    # Empty: no tools. None: those of an earlier answer to the same question, if there are any.
    tools: dict[str, Any] | None = None

    def choices(self) -> dict[str, Any]:
        """Return what tells two requests apart. What older requests did not know is left out where it is not chosen."""
        chosen = {name: value for name, value in asdict(self).items() if value is not False and value != {}}
        return {name: value for name, value in chosen.items() if value is not None or name not in (*OPENAI_FIELDS, "tools")}

    def with_defaults(self, **defaults: Any) -> "Sampling":
        """Fill in these values where nothing is chosen. A default of None changes nothing."""
        missing = {name: value for name, value in defaults.items() if value is not None and getattr(self, name) is None}
        return replace(self, **missing) if missing else self


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One question to the model.

    `messages` is `list[{"role": "user" | "assistant" | "system", "content": str}]`, oldest first. If the protocol takes it, an
    answer may have `"reasoning_content"`, too, or `"tool_calls"`; then messages of the role `tool` follow it. `rows` says of
    how many stored messages each of them is made; () means one each. `newest` is the newest question, where it is joined with
    others in the last message. `left_out` is how many stored messages were taken out of this request since the caller chose
    them. `continues` is the beginning of the answer, if that is to be continued.
    """

    messages: list[dict[str, Any]]
    system_prompt: str = ""
    model_tag: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    rows: tuple[int, ...] = ()
    newest: str = ""
    left_out: int = 0
    continues: str = ""


@dataclass(slots=True)
class Delta:
    """What one event of the answer brought.

    `payload` is the JSON object to relay, `{"token": …}`, as bytes; None where the event has none for clients. `reasoning` is
    relayed before it.
    """

    payload: bytes | None = None
    text: str = ""
    reasoning: str = ""
    is_end: bool = False
    # Whether it calls a tool. Only a client can run one, if it offered any.
    calls_tool: bool = False
    # Set with `is_end` if the stream says that the reply has failed.
    has_failed: bool = False
    # One of ours (`endings`), and the service's own word for it.
    finish_reason: str = ""
    finish_word: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    # The model that answers, where the event names it.
    model: str = ""


def fill_in(sampling: Sampling) -> Sampling:
    """Return a choice with the operator's defaults where neither the client nor an assistant chose."""
    return sampling.with_defaults(
        temperature=settings.INFERENCE_DEFAULT_TEMPERATURE,
        max_tokens=settings.INFERENCE_DEFAULT_MAX_TOKENS,
        top_k=settings.INFERENCE_DEFAULT_TOP_K,
    )


class InferenceProtocol(Protocol):
    """One instance serves one generation, so it may keep state between events."""

    # What the service accepts, None where it sets no limit. The caller chooses messages that keep these limits; the protocol
    # never cuts one. The system prompt counts as a message of its own, also where `has_system_role` is false and the protocol
    # puts it into or before a user message: what the protocol adds then is already subtracted from `max_total_characters`.
    max_message_characters: int | None
    max_total_characters: int | None
    has_system_role: bool
    # Whether a message of the history may have its reasoning beside its content.
    takes_reasoning: bool
    # Whether each request names its model; otherwise the one that is loaded answers, whatever a conversation's tag says.
    chooses_model: bool
    # Which of the fields of `Sampling` each request may have, beside those that all protocols know.
    sampling_fields: tuple[str, ...]
    # Whether requests may offer tools, and messages have calls and their outputs.
    takes_tools: bool
    swap_path: str | None
    # The model whose thinking tags are looked for, "" where requests name none.
    tags_of: str

    @property
    def path(self) -> str:
        """Where replies are asked for, relative to INFERENCE_SERVICE_URL."""
        ...

    @property
    def models_path(self) -> str: ...

    def headers(self) -> dict[str, str]: ...

    def body(self, request: GenerationRequest) -> dict[str, Any]: ...

    def body_after(self, body: dict[str, Any], refusal: Refusal) -> dict[str, Any] | None:
        """Return another body that the service may take after it refused this one, or None if there is none."""
        ...

    def note_taken(self, refused: dict[str, Any], taken: dict[str, Any]) -> None:
        """Hear that the service took another body than the one that it refused."""
        ...

    def read_event(self, data: bytes) -> Delta:
        """Read one event. Raises `UpstreamError` where it reports a failure or is not of the protocol."""
        ...

    def flush(self, *, is_whole: bool = False) -> Delta:
        """Return what was held back of the events, when there are no more. `is_whole` says that the reply is."""
        ...

    def tool_calls(self, reply_id: UUID, *, was_cut: bool) -> "tuple[ToolCall, ...]":
        """Return the calls of the reply that has ended, () if no tools were offered. Raises `UpstreamError`.

        `was_cut` says that it reached its limit, so that its last call may not be whole.
        """
        ...

    def events_of_document(self, data: bytes) -> list[bytes]:
        """Return one JSON document as the events of a stream, for a service that does not stream."""
        ...

    def may_end_here(self, *, is_clean: bool = False) -> bool:
        """Tell whether the answer is whole if the stream ends without the end marker.

        `is_clean` says that the framing of the HTTP body is complete. Otherwise the connection may have broken.
        """
        ...

    def read_models(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return `{"current_model", "models": [{"model_tag", "source", "path", "loaded"}]}`."""
        ...


def characters_of(message: dict[str, Any]) -> int:
    """Return how long a message is: its text, its reasoning, its calls."""
    texts = sum(len(part) for name, part in message.items() if name != "role" and isinstance(part, str))
    functions = (call["function"] for call in message.get("tool_calls") or ())
    return texts + sum(len(function["name"]) + len(function["arguments"]) for function in functions)


def prefills(model: str) -> bool:
    """Whether the service is known to go on with a last message of the model's, as vLLM does."""
    return any(_matches(model, pattern) for pattern in settings.INFERENCE_PREFILL)


def messages_to_continue(request: GenerationRequest) -> list[dict[str, Any]]:
    """Return the messages of a request; to continue an answer, its beginning and the instruction to go on follow."""
    if not request.continues:
        return request.messages
    begun = {"role": "assistant", "content": request.continues}
    return [*request.messages, begun, {"role": "user", "content": CONTINUE_INSTRUCTION}]


def new_think_tags(model: str = "") -> ThinkTags | None:
    """Return what splits the thought off a reply of this model; None where tags are text."""
    if not settings.INFERENCE_THINK_TAGS:
        return None
    is_named = any(_matches(model, pattern) for pattern in settings.INFERENCE_THINK_INSIDE)
    return ThinkTags(begins_inside=is_named or thought_beginnings.is_inside(model), pairs=think_pairs(model))


def think_pairs(model: str) -> Mapping[str, tuple[str, ...]]:
    """Return the opening tags of thoughts that this model may use, each with what closes it."""
    pairs = {opening: (closing,) for pattern, opening, closing in settings.INFERENCE_THINK_PAIRS if _matches(model, pattern)}
    # The operator's own pairs come first: one may begin with another tag.
    return {**pairs, **PAIRS, **pairs} if pairs else PAIRS


def note_whole_reply(model: str, *, text: str, reasoning: str) -> None:
    """Learn from a whole reply of this model whether its replies begin inside the thought."""
    if settings.INFERENCE_THINK_TAGS:
        thought_beginnings.note(model, text=text, reasoning=reasoning, pairs=think_pairs(model))


def _matches(model: str, pattern: str) -> bool:
    return fnmatchcase(model.lower(), pattern.lower())


def read_other(data: bytes) -> Delta:
    """Read an event that is no JSON object: the end marker or a keep-alive. Raises `UpstreamError` for all else."""
    said = data.decode(errors="replace").strip()
    if said.strip("\"'; ").upper() in END_WORDS:
        return Delta(is_end=True)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        # A word such as `ping`. A text that begins like an array or a text of JSON may be a part of the reply.
        is_keepalive = said[:1] not in ("{", '"') and not said.startswith(("[[", "[{", '["')) and not FAILURE_WORDS.search(said)
    else:
        # `null`, `[]`, a time; no token is one of these.
        is_named = isinstance(value, str) and KEEPALIVE.search(value) is not None
        is_keepalive = is_named or not value or isinstance(value, int | float)
    if not is_keepalive:
        raise UpstreamError
    return Delta()


class Ending:
    """What the stream of one reply has said about its end."""

    def __init__(self) -> None:
        self.has_reason = False
        # Whether something came that is no part of a reply as far as this service knows.
        self.has_foreign_event = False
        # Whether text came without a reason beside it. Some services send a reason with every piece of text.
        self.has_open_text = False
        # Whether the reply is whole even if the connection breaks now.
        self.is_certain = False

    def note_marker(self, delta: Delta) -> None:
        """Note the protocol's end marker: it means a whole reply only if all that came before was understood."""
        delta.has_failed = self.has_foreign_event and not self.has_reason

    def note(self, word: str, delta: Delta) -> None:
        """Note the service's word for why the reply ended, and put it into the delta."""
        delta.finish_word = clean_label(word)
        delta.finish_reason = finish_reason_of(word)
        if not delta.finish_reason:
            delta.is_end = delta.has_failed = True
            return
        self.is_certain = self.has_open_text and not (self.has_reason and bool(delta.text))
        self.has_reason = True

    def may_end_here(self, *, is_clean: bool) -> bool:
        return self.is_certain or (is_clean and self.has_reason)
