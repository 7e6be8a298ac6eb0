"""The end of a reply, as its generation saves it."""

from typing import Any

from conversations.services.replies.store import DatabaseReplyStore
from conversations.services.sending.turn import Turn
from conversations.services.usage.totals import has_uncounted
from inference_proxy.replies.store import FinalStatus, FinishedReply


def end(turn: Turn, status: FinalStatus = "complete", text: str = "an answer", **values: Any) -> None:
    """Save the end of a turn's reply."""
    fields: dict[str, Any] = {
        "error_code": "upstream_error" if status == "failed" else "",
        "token_count": len(text),
        "prompt_tokens": None,
        "inference_time_ms": 10,
        "first_token_ms": None,
        "finish_reason": "",
    }
    store = DatabaseReplyStore()
    store.finish(FinishedReply(reply_id=turn.reply_id, status=status, text=text, **{**fields, **values}))
    # Another end may have locked the totals. The worker's keeper counts it later.
    while has_uncounted():
        store.count_uncounted()
