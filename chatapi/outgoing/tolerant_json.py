"""JSON as other services write it."""

import json
from typing import Any

import orjson


def load(body: bytes) -> Any:
    """Parse JSON, also in UTF-16, with a BOM, NaN, or half a character in a field that perhaps no code reads.

    Returns None for what is no JSON at all. What could not be stored becomes U+FFFD, and what is no number becomes None.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        read = json.loads(body.decode(json.detect_encoding(body), "replace"), strict=False, parse_constant=_nothing)
        text = json.dumps(read, ensure_ascii=False).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        return json.loads(text, parse_constant=_nothing)
    except (ValueError, RecursionError):
        return None


def _nothing(_: str) -> None:
    return None
