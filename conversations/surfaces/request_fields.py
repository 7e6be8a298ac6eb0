"""Fields of request bodies that several surfaces have, and the choices of other services that they refuse."""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from msgspec import Meta
from rest_framework.exceptions import ValidationError

from chatapi.api.bodies import Body
from conversations.models import SESSION_ID_PATTERN
from conversations.visible_text import is_blank

MAX_SESSION_ID_CHARACTERS = 200
SESSION_ID_PROBLEM = "Must be 1 to 200 ASCII letters, digits and . _ : @ - (the first: a letter, digit, _ or -), not `stream`."

# What clients of other services may choose, and the values that change nothing here. A surface that lacks a field refuses it.
_CHOICES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "model": (),
        "system": (),
        "system_prompt": (),
        "instructions": (),
        "temperature": (),
        "max_tokens": (),
        "max_completion_tokens": (),
        "max_output_tokens": (),
        "n": (1,),
        "seed": (),
        "stop": (),
        "stop_sequences": (),
        "top_k": (),
        "top_p": (1,),
        "min_p": (0,),
        "logit_bias": (),
        "logprobs": (),
        "top_logprobs": (0,),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "repetition_penalty": (1,),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "reasoning": (),
        "reasoning_effort": (),
        # The service always leaves out what does not fit the model.
        "truncation": ("auto",),
        "tools": (),
        # There are no tools to choose from.
        "tool_choice": ("auto", "none"),
        "functions": (),
        "function_call": ("auto", "none"),
        "audio": (),
        "web_search_options": (),
        "verbosity": ("medium",),
        # Of servers that people run themselves.
        "max_new_tokens": (),
        "n_predict": (),
        "min_tokens": (0,),
        "typical_p": (1,),
        "mirostat": (0,),
        "length_penalty": (1,),
        "best_of": (1,),
        "ignore_eos": (),
        "bad_words": (),
        "guided_json": (),
        "guided_regex": (),
        "guided_choice": (),
        "guided_grammar": (),
        "structured_outputs": (),
        "grammar": (),
        "json_schema": (),
        "thinking": ({"type": "disabled"},),
        "think": (),
        "enable_thinking": (),
        "chat_template_kwargs": (),
        # What the message refers to.
        "attachments": (),
        "files": (),
        "images": (),
        # Fields that other surfaces of this service have.
        "model_tag": (),
        "assistant_id": (),
        "conversation": (),
        "previous_response_id": (),
        "parent_id": (),
        "background": (),
        "temporary": (),
        "is_favorited": (),
    }
)


def choices_except(*supported: str) -> Mapping[str, tuple[Any, ...]]:
    """Return the fields that a surface refuses because it lacks what they choose, with the values that it accepts."""
    return MappingProxyType({name: harmless for name, harmless in _CHOICES.items() if name not in supported})


def choices_of_creation() -> Mapping[str, tuple[Any, ...]]:
    """Return what the creation of a conversation refuses."""
    return MappingProxyType({**_CHOICES, "messages": ()})


def harmless_values(*names: str) -> Mapping[str, tuple[Any, ...]]:
    """Return these fields, with the values that change nothing."""
    return MappingProxyType({name: _CHOICES[name] for name in names})


def visible(longest: int) -> Meta:
    """Return the rules of a text with at least one visible character."""
    return Meta(min_length=1, max_length=longest, extra={"then": require_visible})


def require_visible(text: str) -> str:
    if is_blank(text):
        raise ValidationError(["This field may not be blank."])
    return text


def _read_session_id(given: Any) -> str:
    if not isinstance(given, str) or not re.fullmatch(SESSION_ID_PATTERN, given) or given.endswith("\n"):
        raise ValidationError([SESSION_ID_PROBLEM])
    return given


# The name that a caller gives to a session or a chat.
SessionId = Annotated[
    str, Meta(min_length=1, max_length=MAX_SESSION_ID_CHARACTERS, pattern=SESSION_ID_PATTERN, extra={"read": _read_session_id})
]


def ignored(description: str = "Accepted and ignored.") -> Meta:
    """Return the rules of a value that is not inspected, because it may be nested too deeply for Python."""
    return _any_value(description, lambda _: None)


def not_supported(description: str = "Not supported: only an empty value is accepted.") -> Meta:
    """Return the rules of something that changes the answer and that the service does not do."""
    return _any_value(description, _refuse_choice)


def _refuse_choice(given: Any) -> None:
    if not _is_harmless({"": given}, "", ()):
        raise ValidationError([_refusal(())])


def _any_value(description: str, read: Callable[[Any], Any]) -> Meta:
    return Meta(description=description, extra_json_schema={"writeOnly": True}, extra={"read": read})


class RefusingBody(Body):
    # Refuses choices of other services' clients that the service does not have.

    # Fields that would change the answer, with the values that change nothing. Those that the body has itself are not meant.
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = MappingProxyType({})

    @classmethod
    def prepare(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if named := (given.keys() & cls.unsupported.keys()).difference(cls.__struct_fields__):
            refuse_unsupported(given, {name: cls.unsupported[name] for name in cls.unsupported if name in named})
        return given


def refuse_unsupported(given: Mapping[str, Any], unsupported: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise a 400 that names each field of a body that would change the answer and that the service does not support."""
    problems = {name: [_refusal(unsupported[name])] for name in unsupported if not _is_harmless(given, name, unsupported[name])}
    if problems:
        raise ValidationError(problems)


def _refusal(harmless: tuple[Any, ...]) -> str:
    accepted = " or ".join(json.dumps(value) for value in harmless)
    return (
        f"The service does not support this. Only {accepted} is accepted." if accepted else "The service does not support this."
    )


def _is_harmless(given: Mapping[str, Any], name: str, harmless: tuple[Any, ...]) -> bool:
    value = given.get(name)
    # `0` is empty in Python, but as `top_p` it has a meaning.
    is_empty = value is None or value is False or (isinstance(value, str | list) and not value)
    is_object_of_nulls = isinstance(value, dict) and all(member is None for member in value.values())
    # Python takes true for 1.
    return is_empty or is_object_of_nulls or (value is not True and value in harmless)
