"""The choices of a request that only some inference protocols have."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import orjson
from django.conf import settings
from msgspec import Meta
from rest_framework.exceptions import ValidationError

from conversations.surfaces.request_fields import (
    RefusingBody,
    harmless_values,
    refuse_unsupported,
)
from inference_proxy.protocols import PROTOCOLS
from inference_proxy.protocols.base import OPENAI_FIELDS

MOST_STOPS = 4
LONGEST_STOP = 100
LONGEST_FORMAT = 16 * 1024
FORMATS = ("text", "json_object", "json_schema")
ONLY_OPENAI = "Only with an inference service of OpenAI's protocol. With others, a value that would change the answer is a 400."

_STOP = {"type": "string", "minLength": 1, "maxLength": LONGEST_STOP}


def _read_stop(given: Any) -> tuple[str, ...] | None:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) and text and "\x00" not in text for text in texts):
        raise ValidationError(["Must be a text or a list of texts, none of them empty."])
    if len(texts) > MOST_STOPS or any(len(text) > LONGEST_STOP for text in texts):
        raise ValidationError([f"Must have at most {MOST_STOPS} texts of at most {LONGEST_STOP} characters."])
    return tuple(texts) or None


def read_response_format(given: Any) -> dict[str, Any] | None:
    """Read the form of the answer, as OpenAI's chat completions name it. The inference service checks the schema."""
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(kind, str) or kind not in FORMATS:
        raise ValidationError([f"Must be an object whose type is one of {', '.join(FORMATS)}."])
    if (kind == "json_schema") != isinstance(given.get("json_schema"), dict) or set(given) - {"type", "json_schema"}:
        raise ValidationError(["Must have a json_schema if that is its type, and nothing else."])
    check_size(given, LONGEST_FORMAT)
    return None if kind == "text" else given


_FORMAT = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": list(FORMATS)}, "json_schema": {"type": "object"}},
    "required": ["type"],
}
# One text, or up to four, at which the model ends.
Stop = Annotated[
    tuple[str, ...],
    Meta(
        extra_json_schema={"oneOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": MOST_STOPS}]},
        extra={"read": _read_stop},
    ),
]
ResponseFormat = Annotated[dict[str, Any], Meta(extra_json_schema=_FORMAT, extra={"read": read_response_format})]
# How long the model thinks. The inference service checks which of these its model knows.
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[str, ...] = get_args(Effort)
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1, extra_json_schema={"format": "int64"})]


class OpenAIFieldsBody(RefusingBody):
    # The fields of OPENAI_FIELDS, which a body has beside its own, except `response_format`: /v1 has two forms of that.

    top_p: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, Meta(description=ONLY_OPENAI)] = None
    stop: Annotated[Stop | None, Meta(description=ONLY_OPENAI)] = None
    seed: Annotated[Seed | None, Meta(description=ONLY_OPENAI)] = None
    frequency_penalty: Annotated[Penalty | None, Meta(description=ONLY_OPENAI)] = None
    presence_penalty: Annotated[Penalty | None, Meta(description=ONLY_OPENAI)] = None
    reasoning_effort: Annotated[Effort | None, Meta(description=ONLY_OPENAI)] = None

    @classmethod
    def prepare(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return super().prepare(without_unknown_sampling(given))

    def openai_fields(self) -> dict[str, Any]:
        """Return what the request chose of OPENAI_FIELDS, None where it chose nothing."""
        return {name: getattr(self, name, None) for name in OPENAI_FIELDS}


def check_size(value: Any, most_bytes: int) -> None:
    """Refuse a value of a body that is longer than this as JSON, or can't be encoded again."""
    try:
        size = len(orjson.dumps(value))
    except (orjson.JSONEncodeError, RecursionError):
        raise ValidationError("Must be JSON of ordinary depth and numbers.") from None
    if size > most_bytes:
        raise ValidationError(f"Must have at most {most_bytes} bytes.")


def without_unknown_sampling(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body without the choices that the inference protocol does not have, if their values change nothing.

    Raises a 400 that names those that would change the answer.
    """
    known = known_sampling()
    unknown = [name for name in OPENAI_FIELDS if name in data and name not in known]
    refuse_unsupported(data, harmless_values(*unknown))
    # Of those that are known, an empty value is no choice.
    empty = [name for name in OPENAI_FIELDS if name in data and name in known and _is_empty(data[name])]
    return {name: value for name, value in data.items() if name not in {*unknown, *empty}} if unknown or empty else data


def known_sampling() -> tuple[str, ...]:
    """Return those of OPENAI_FIELDS that the inference protocol has."""
    return PROTOCOLS[settings.INFERENCE_PROTOCOL].sampling_fields


def takes_tools() -> bool:
    """Whether the inference protocol knows tools."""
    return PROTOCOLS[settings.INFERENCE_PROTOCOL].takes_tools


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == []
