"""Calls of tools and their outputs in a history: they go upstream together, or not at all.

A round is a reply with calls and the outputs that follow it. It is whole if it has an output for each call and none for others.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from conversations.exceptions import ToolOutputMismatch
from conversations.models import Role
from conversations.services.sending.upstream_messages import HistoryRow, sends_tools
from inference_proxy.protocols.tool_calls import openai_calls, read_call_id, read_calls

# The role of an output in a context. The table has no such role, see `Message.tool_calls`.
TOOL = "tool"


def with_whole_rounds(rows: Iterable[HistoryRow], *, newest_call_id: str) -> Iterator[HistoryRow]:
    """Yield the rows, newest first, without calls and outputs that don't belong to a whole round. Outputs get the role `tool`.

    With a `newest_call_id`, the first row is the output of that call. Raises `ToolOutputMismatch` if its round is not whole.
    """
    has_tools = sends_tools()
    outputs: list[HistoryRow] = []
    is_newest = bool(newest_call_id)
    for row in rows:
        call_id = read_call_id(row[5]) if row[5] else ""
        if call_id:
            outputs.append((TOOL, *row[1:]))
            continue
        calls = read_calls(row[5]) if row[5] and row[0] == Role.ASSISTANT else ()
        if outputs or calls:
            is_whole = sorted(call.id for call in calls) == sorted(read_call_id(output[5]) for output in outputs)
            if is_newest and not (is_whole and has_tools):
                raise ToolOutputMismatch
            if has_tools and is_whole:
                yield from outputs
            elif calls:
                length = row[2] - (len(row[5] or "") if has_tools else 0)
                row = (*row[:2], max(0, length), *row[3:5], None)
            outputs = []
        is_newest = False
        yield row
    if is_newest:
        raise ToolOutputMismatch


def rounds_of(answered: list[HistoryRow]) -> list[int]:
    """Return how many of the newest of these rows are one round, two rounds and so on, up to all."""
    ends = [place for place, row in enumerate(answered, 1) if row[0] == Role.ASSISTANT and row[5]]
    return [*ends[:-1], len(answered)]


def messages_of_round(side: list[HistoryRow], join: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the messages that the model gets for answers and outputs, newest first, each with its number of rows.

    `join` makes one message of several answers without calls.
    """
    plain: list[HistoryRow] = []
    for row in side:
        if row[0] == Role.ASSISTANT and not row[5]:
            plain.append(row)
            continue
        if plain:
            yield join(plain), len(plain)
            plain = []
        if row[0] == TOOL:
            yield {"role": TOOL, "tool_call_id": read_call_id(row[5]), "content": row[3]}, 1
        else:
            message = join([row])
            yield {**message, "content": row[3] or None, "tool_calls": openai_calls(read_calls(row[5]))}, 1
    if plain:
        yield join(plain), len(plain)
