"""Parts of UI messages that hold the call of a tool: reading what a client writes into them, and making them of rows.

A client runs a call, and writes its output into the part with the call. So the output comes back with the answer, in the next
request. The calls themselves are not read: the service has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import orjson
from rest_framework.exceptions import ValidationError

from chatapi.incoming.request_bodies import PayloadTooLarge
from conversations.services.sending.brought_messages import Said
from conversations.surfaces.function_tools import LONGEST_ID, LONGEST_OUTPUT, check_output
from inference_proxy.protocols.tool_calls import OutputForm, ToolCall

AVAILABLE: Literal["output-available"] = "output-available"
FAILED: Literal["output-error"] = "output-error"
DYNAMIC = "dynamic-tool"
# In a long body. A reply has MOST_CALLS calls, and few answers have more than some rounds of them.
MOST_PARTS = 20_000
# A character may be six bytes of JSON.
LONGEST_WRITTEN = 6 * LONGEST_OUTPUT + 2


class Output(NamedTuple):
    text: str
    form: OutputForm


# By the ids of their calls.
Outputs = Mapping[str, Output]


def read_outputs(parts: Any) -> Outputs:
    """Return the outputs in the parts of an answer. Parts of other kinds are ignored."""
    listed = parts if isinstance(parts, list) else []
    found = [part for part in listed if isinstance(part, dict) and _is_of_tool(part.get("type"))]
    outputs: dict[str, Output] = {}
    for part in found:
        call_id, state = part.get("toolCallId"), part.get("state")
        if not isinstance(call_id, str) or len(call_id) > LONGEST_ID or part.get("providerExecuted"):
            continue
        if state == AVAILABLE:
            outputs[call_id] = _read_output(part.get("output"))
        elif state == FAILED:
            outputs[call_id] = Output(_read_output(part.get("errorText")).text, "error")
    return outputs


def said_by(calls: Sequence[ToolCall], outputs: Outputs) -> list[Said]:
    """Return the messages with the outputs of these calls, in their order; [] unless each has one.

    Raises a 400 for an output that can't be stored.
    """
    if not all(call.id in outputs for call in calls):
        return []
    found = [Said("tool", outputs[call.id].text, call_id=call.id, form=outputs[call.id].form) for call in calls]
    try:
        for output in found:
            if "\x00" in check_output(output.content):
                raise ValidationError("Null characters are not allowed.")
    except ValidationError as problem:
        raise ValidationError({"messages": problem.detail}) from None
    return found


def call_input(arguments: str) -> Any:
    """Return the arguments of a call as front-ends get them: parsed, or as they are where the model did not write JSON."""
    try:
        found = orjson.loads(arguments)
        orjson.dumps(found)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return arguments
    return found


def _is_of_tool(kind: Any) -> bool:
    return isinstance(kind, str) and (kind == DYNAMIC or kind.startswith("tool-"))


def _read_output(output: Any) -> Output:
    """Return what the model gets: a text as it is, all else as JSON."""
    if isinstance(output, Output):
        return output
    if output is None or isinstance(output, str):
        return Output(output or "", "text")
    try:
        return Output(orjson.dumps(output).decode(), "json")
    except (orjson.JSONEncodeError, RecursionError):
        raise ValidationError(["The output of a tool must be JSON of ordinary depth and numbers."]) from None


class LongPart(msgspec.Struct, gc=False):
    # Required, so that a list of other things ends at its first item.
    type: msgspec.Raw
    toolCallId: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815  # the SDK's name
    state: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    errorText: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    providerExecuted: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815


def read_long_parts(raw: Any) -> list[dict[str, Any]]:
    """Return the parts with outputs of an answer in a long body, for `read_outputs`."""
    if raw is msgspec.UNSET:
        return []
    if bytes(memoryview(raw)).count(b'"type"') > MOST_PARTS:
        raise PayloadTooLarge
    try:
        parts = msgspec.json.decode(raw, type=list[LongPart])
    except msgspec.ValidationError:
        return []
    found: list[dict[str, Any]] = []
    for part in parts:
        read = {name: _read_short(getattr(part, name)) for name in ("type", "toolCallId", "state", "providerExecuted")}
        name = {AVAILABLE: "output", FAILED: "errorText"}.get(read["state"] or "")
        if name is not None and _is_of_tool(read["type"]):
            found.append({**read, name: _read_long(getattr(part, name))})
    return found


def _read_short(raw: Any) -> Any:
    """Return a word or a boolean; None for all else."""
    written = b"" if raw is msgspec.UNSET else bytes(memoryview(raw)[: 6 * LONGEST_ID + 3])
    if written == b"true":
        return True
    is_word = written[:1] == b'"' and len(written) <= 6 * LONGEST_ID + 2
    return orjson.loads(written) if is_word else None


def _read_long(raw: Any) -> Any:
    """Return an output. One after the other becomes objects, which are gone before the next one."""
    if raw is msgspec.UNSET:
        return None
    if len(memoryview(raw)) > LONGEST_WRITTEN:
        raise PayloadTooLarge
    return _read_output(orjson.loads(memoryview(raw)))
