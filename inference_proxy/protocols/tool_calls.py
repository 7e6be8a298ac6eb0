"""Calls of function tools: how they look at rest, and how they are put together from the pieces of a stream.

Principle: a call exists when it is whole. Servers send its arguments in pieces, some of them those of several calls in turns,
and no client can run half a call. So the pieces are collected here, and the reply gets its calls when it has ended properly.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson

from inference_proxy.exceptions import UpstreamError
from inference_proxy.protocols.event_values import clean_label, without_unstorable

# What the content of an output is: a text, JSON, or what went wrong. The model gets all of them as a text.
OutputForm = Literal["text", "json", "error"]
MOST_CALLS = 32
# Of all calls of one reply together.
MOST_CHARACTERS = 64 * 1024


class ToolCall(NamedTuple):
    """A call that the client is asked to run. `arguments` are JSON, as the model wrote them."""

    id: str
    name: str
    arguments: str

    def as_json(self) -> dict[str, str]:
        return self._asdict()


def read_calls(stored: Any) -> tuple[ToolCall, ...]:
    """Return the calls in a reply's column, as text or parsed. () for all else: an imported archive may bring anything."""
    found = _parsed(stored)
    if not isinstance(found, list):
        return ()
    calls = [_read_call(each) for each in found[:MOST_CALLS]]
    return tuple(call for call in calls if call is not None)


def read_call_id(stored: Any) -> str:
    """Return the id of the call that a message is the output of, "" if it is none."""
    found = _parsed(stored)
    call_id = found.get("call_id") if isinstance(found, dict) else None
    return call_id if isinstance(call_id, str) else ""


def write_calls(calls: Iterable[ToolCall]) -> list[dict[str, str]] | None:
    """Return what a reply's column holds; None without calls."""
    return [call.as_json() for call in calls] or None


def read_form(stored: Any) -> OutputForm:
    """Return in which form a client sent the output of a call."""
    found = _parsed(stored)
    form = found.get("form") if isinstance(found, dict) else None
    return form if form in ("json", "error") else "text"


def write_call_id(call_id: str, form: OutputForm = "text") -> dict[str, str] | None:
    """Return what the column of an output holds; None without a call."""
    if not call_id:
        return None
    return {"call_id": call_id} if form == "text" else {"call_id": call_id, "form": form}


def openai_calls(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    """Return calls in the form of a message of chat completions."""
    return [{"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls]


def _parsed(stored: Any) -> Any:
    try:
        return orjson.loads(stored) if isinstance(stored, str) else stored
    except orjson.JSONDecodeError:
        return None


def _read_call(value: Any) -> ToolCall | None:
    parts = [value.get(name) for name in ToolCall._fields] if isinstance(value, dict) else []
    texts = [part for part in parts if isinstance(part, str)]
    return ToolCall(*texts) if len(texts) == len(ToolCall._fields) else None


class _Pieces:
    """One call, as far as it has come."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class CallCollector:
    """Collect the calls of one reply from the deltas of chat completions. Raises `UpstreamError` for more than fits."""

    def __init__(self) -> None:
        self._calls: list[_Pieces] = []
        # The newest call of each index; None: of those without one.
        self._by_index: dict[int | None, _Pieces] = {}
        self._characters = 0

    def add(self, tool_calls: Any) -> None:
        """Take the `tool_calls` of a delta, or of a whole message."""
        if not isinstance(tool_calls, list):
            raise UpstreamError
        for piece in tool_calls:
            function = piece.get("function") if isinstance(piece, dict) else None
            if not isinstance(function, dict):
                raise UpstreamError
            self._add(piece.get("index"), piece.get("id"), function)

    def add_function(self, function_call: Any) -> None:
        """Take the `function_call` of a delta: the older form, with one call."""
        if not isinstance(function_call, dict):
            raise UpstreamError
        self._add(0, None, function_call)

    def _add(self, index: Any, call_id: Any, function: dict[str, Any]) -> None:
        name, arguments = function.get("name") or "", function.get("arguments")
        call_id = call_id if isinstance(call_id, str) else ""
        call = self._call_for(index if isinstance(index, int) else None, call_id, name)
        call.id = call.id or call_id
        # Some servers repeat the name with each piece.
        call.name = call.name or (name if isinstance(name, str) else "")
        if isinstance(arguments, dict):
            # Some send an object, and not its JSON.
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str) and arguments:
            self._characters += len(arguments)
            call.arguments.append(arguments)
        if len(self._calls) > MOST_CALLS or self._characters > MOST_CHARACTERS:
            raise UpstreamError

    def _call_for(self, index: int | None, call_id: str, name: Any) -> _Pieces:
        """Return the call that a piece belongs to. Some servers give no index, or the same one to all calls."""
        known = self._by_index.get(index)
        if known is not None and call_id and call_id == known.id:
            return known
        if known is None or (name and known.name and (call_id or index is None)):
            known = self._by_index[index] = _Pieces()
            self._calls.append(known)
        return known

    def calls(self, reply_id: UUID, *, was_cut: bool) -> tuple[ToolCall, ...]:
        """Return the calls. If the reply `was_cut` at its limit, leave out those whose arguments are not whole.

        Calls without an id get one: the client names the call by it when it sends the output. Raises `UpstreamError` for a call
        without a name.
        """
        found: list[ToolCall] = []
        for number, pieces in enumerate(self._calls):
            arguments = without_unstorable("".join(pieces.arguments)) or "{}"
            if was_cut and not _is_json(arguments):
                continue
            name, call_id = clean_label(pieces.name), clean_label(pieces.id)
            if not name:
                raise UpstreamError
            if not call_id or any(call_id == other.id for other in found):
                call_id = f"call_{reply_id.hex}_{number}"
            found.append(ToolCall(call_id, name, arguments))
        return tuple(found)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
