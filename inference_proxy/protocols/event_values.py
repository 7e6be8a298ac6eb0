"""Values in the events of inference services: JSON that is almost valid, tokens with halves of characters, names, counts."""

import json
import re
from typing import Any

import orjson

from inference_proxy.exceptions import UpstreamError

# PostgreSQL stores neither, and no client can show them.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# What the column of a service's own finish word holds.
MAX_LABEL_CHARACTERS = 100
# Some frameworks put the field's name before data that has it already.
DOUBLED_FIELD = re.compile(rb"\s*(?:data:\s*)+")


class TokenCleaner:
    """Clean the tokens of one reply, in their order.

    Some tokenizers cut an emoji in two and send half a surrogate pair with each token. The first half is held back until
    the next token brings the second; without one it is dropped.
    """

    def __init__(self) -> None:
        self._held = ""

    def clean(self, token: str) -> str:
        """Return what can be shown and stored of a token, after what was held back of the one before it."""
        if not self._held and token.isascii() and "\x00" not in token:
            return token
        text = self._held + token.replace("\x00", "")
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return without_unstorable(text.removesuffix(self._held))


def without_doubled_field(data: bytes) -> bytes:
    """Return the data of an event without the name of its field, where that comes twice: `data: data: {…}`."""
    return data[found.end() :] if b"data:" in data[:64] and (found := DOUBLED_FIELD.match(data)) else data


def load_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises `UpstreamError`."""
    event, _ = load_event(data)
    return event


def load_event(data: bytes) -> tuple[dict[str, Any], bool]:
    """Parse an event's JSON object and tell whether every client can parse it, too. Raises `UpstreamError`.

    Python's own parser is more tolerant than clients are: it reads `NaN` and escaped halves of surrogate pairs.
    """
    is_strict = True
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        is_strict = False
        event = _load_tolerantly(data)
    if not isinstance(event, dict):
        raise UpstreamError
    return event, is_strict


def load_spelled(data: bytes) -> Any:
    """Parse JSON with its numbers as the text that they are written in. Raises `UpstreamError`."""
    return _load_tolerantly(data, parse_int=str, parse_float=str, parse_constant=str)


def _load_tolerantly(data: bytes, **options: Any) -> Any:
    try:
        # A tokenizer may cut a character in two. Each invalid byte costs one character, and not the reply.
        return json.loads(data.decode(errors="replace"), strict=False, **options)
    except (ValueError, RecursionError):
        raise UpstreamError from None


def text_of(value: Any) -> str | None:
    """Return the text of a token, which some services send as a number or a truth value; None if it is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def name_of(value: Any) -> str:
    """Return the name of a model, as far as the column for it can hold it; "" if it is none."""
    return value.strip()[:MAX_LABEL_CHARACTERS] if isinstance(value, str) and value.isprintable() else ""


def encode_object(event: dict[str, Any]) -> bytes:
    """Encode an object that may come from the tolerant parser: `NaN` becomes null, what JSON can't say is left out."""
    try:
        return orjson.dumps(event)
    except TypeError:
        return orjson.dumps({name: value for name, value in event.items() if _is_encodable({name: value})})


def _is_encodable(event: dict[str, Any]) -> bool:
    try:
        orjson.dumps(event)
    except TypeError:
        return False
    return True


def without_unstorable(text: str) -> str:
    """Remove NUL characters and lone surrogates; join surrogates that are a pair."""
    if text.isascii() and "\x00" not in text:
        return text
    if SURROGATE_PAIR.search(text):
        text = SURROGATE_PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return UNSTORABLE.sub("", text)


def clean_label(value: Any) -> str:
    """Return a word that the service says about a reply (why it ended, say) as it can be shown; "" where it is no text."""
    return "".join(filter(str.isprintable, value))[:MAX_LABEL_CHARACTERS] if isinstance(value, str) else ""


def whole_number(value: Any) -> int | None:
    """Return a count that a column of 32 bits holds; also from a text or a whole float."""
    if isinstance(value, str) and len(value) <= 12:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # bool is an int to Python.
    return value if type(value) is int and 0 <= value < 2**31 else None
