"""Continuing a reply that has ended: what it had before, and how the end of the continuation changes that.

Principle: what was saved and shown stays. A continuation only adds: its text follows the text that was there, its numbers are
added to the numbers. One that fails leaves the status as it was. What it had already shown is kept behind the older text,
because the cursors of its followers are beyond it.
"""

from dataclasses import dataclass, replace
from typing import Any

from inference_proxy.replies.frames import Cursor
from inference_proxy.replies.store import FinalStatus, FinishedReply

# What a column of 32 bits holds.
MOST_COUNTED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Former:
    """A reply before it is continued. `number` is that of the continuation: 1 for the first."""

    number: int
    text: str
    reasoning: str
    status: FinalStatus
    reasoning_before_text: int | None = None
    error_code: str = ""
    token_count: int = 0
    prompt_tokens: int | None = None
    inference_time_ms: int = 0
    first_token_ms: int | None = None
    finish_reason: str = ""
    upstream_finish: str = ""
    upstream_status: int | None = None
    upstream_code: str = ""
    trace_id: str = ""

    @property
    def cursor(self) -> Cursor:
        return Cursor(len(self.text), len(self.reasoning))


def end_of_continuation(end: FinishedReply, former: Former) -> FinishedReply:
    """Return the end of a reply from the `end` of its continuation, which has the whole texts, and numbers of its own."""
    has_failed = end.status == "failed"
    end = replace(end, continuation=former.number, **(_former_end(former) if has_failed else {}))
    if has_failed and Cursor(len(end.text), len(end.reasoning)) == former.cursor:
        # A request with the same key may try again.
        return replace(end, sent=None, model_tag="", releases_key=True, **_former_numbers(former))
    return replace(
        end,
        token_count=former.token_count + end.token_count,
        prompt_tokens=_sum(former.prompt_tokens, end.prompt_tokens),
        inference_time_ms=former.inference_time_ms + end.inference_time_ms,
        first_token_ms=end.first_token_ms if former.first_token_ms is None else former.first_token_ms,
    )


def _former_end(former: Former) -> dict[str, Any]:
    names = ("status", "error_code", "finish_reason", "upstream_finish", "upstream_status", "upstream_code", "trace_id")
    return {name: getattr(former, name) for name in names}


def _former_numbers(former: Former) -> dict[str, Any]:
    return {name: getattr(former, name) for name in ("token_count", "prompt_tokens", "inference_time_ms", "first_token_ms")}


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else min((one or 0) + (other or 0), MOST_COUNTED)
