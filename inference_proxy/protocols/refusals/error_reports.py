"""Reading the error that an inference service answers with, or sends in its stream.

Such an answer may quote what a user wrote, so it is searched for known words and never logged or shown.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

# A service may repeat the user's own words. They are rarely at the beginning of its sentences.
SENTENCE_CHARACTERS = 1_000
# Where services put an error, one inside the other, and what it says.
WRAPPERS = ("error", "errors", "detail", "message", "response", "x_groq", "base_resp", "metadata", "innererror")
SENTENCES = (
    "message",
    "detail",
    "msg",
    "error",
    "error_message",
    "error_msg",
    "errorMessage",
    "errmsg",
    "status_msg",
    "raw",
    "reason",
    "Message",
)
CODES = ("code", "error_code", "errorCode", "status_code", "errno")
TYPES = ("type", "error_type", "__type")
WORDS = (*CODES, *TYPES, "status", "object")
# A code or type, as services write them: no text, and so nothing that a user wrote.
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
DIGITS = re.compile(r"[0-9]{1,9}")
# Says only that this is an error.
NO_TYPE = "error"
DEEPEST = 6


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What an error says: its code and type, other words, its sentences, the parameter that it names, its numbers by name."""

    words: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    param: str = ""
    numbers: dict[str, int] = field(default_factory=dict)
    code: str = ""
    kind: str = ""

    @property
    def text(self) -> str:
        """All sentences."""
        return "\n".join(self.sentences)

    def says(self, pattern: re.Pattern[str], characters: int = SENTENCE_CHARACTERS) -> bool:
        """Whether the pattern is in the beginning of one of its sentences."""
        return any(pattern.search(sentence[:characters]) for sentence in self.sentences)


def read_error(answer: bytes) -> ErrorReport:
    """Read an error in any of the usual forms. Of a text that is not JSON, the beginning counts as its sentence."""
    try:
        said = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return ErrorReport(sentences=(answer[: 4 * SENTENCE_CHARACTERS].decode(errors="replace")[:SENTENCE_CHARACTERS],))
    if isinstance(said, str):
        return ErrorReport(sentences=(said[:SENTENCE_CHARACTERS],))
    words: list[str] = []
    sentences: list[str] = []
    numbers: dict[str, int] = {}
    param = ""
    errors = list(_errors(said, DEEPEST))
    for found in errors:
        words += [word[:100] for name in WORDS if isinstance(word := found.get(name), str)]
        sentences += [text[:SENTENCE_CHARACTERS] for name in SENTENCES if isinstance(text := found.get(name), str)]
        param = param or _param_of(found)
        numbers |= {name: number for name, number in found.items() if type(number) is int}
    return ErrorReport(
        words=tuple(words),
        sentences=tuple(sentences),
        param=param,
        numbers=numbers,
        code=_identifier([found.get(name) for found in errors for name in CODES]),
        kind=_identifier([found.get(name) for found in errors for name in TYPES]),
    )


def _identifier(values: Iterable[Any]) -> str:
    """Return the first that is an identifier, or else a number."""
    said = [str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool)]
    words = [word for word in said if IDENTIFIER.fullmatch(word) and word != NO_TYPE]
    return next(iter([*words, *filter(DIGITS.fullmatch, said)]), "")


def _errors(said: Any, deepest: int) -> Iterator[dict[str, Any]]:
    """Yield the object and the errors inside it, the outermost first."""
    if isinstance(said, list):
        said = said[0] if said else None
    if isinstance(said, str) and said.lstrip()[:1] == "{":
        # A gateway may hand on the provider's answer as a text.
        try:
            said = orjson.loads(said)
        except orjson.JSONDecodeError:
            return
    if not isinstance(said, dict) or not deepest:
        return
    yield said
    for name in (*WRAPPERS, "raw"):
        if isinstance(said.get(name), dict | list | str):
            yield from _errors(said[name], deepest - 1)


def _param_of(found: dict[str, Any]) -> str:
    """Return the name of the parameter: `param` as OpenAI has it, `loc` as FastAPI."""
    if isinstance(param := found.get("param"), str):
        return param[:100]
    place = found.get("loc")
    names = [name for name in place if isinstance(name, str) and name != "body"] if isinstance(place, list) else []
    return ".".join(names)[:100]
