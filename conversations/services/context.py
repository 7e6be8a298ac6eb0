"""What the model gets to see of a conversation: its newest messages, within two budgets."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models.functions import Left, Length

from conversations.querysets import MessageQuerySet

# Counting what was left out of a very long conversation stops here.
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Context:
    """The messages for upstream, oldest first, and the receipt that the reply keeps of them."""

    messages: list[dict[str, str]]
    receipt: dict[str, Any]


def build_context(history: MessageQuerySet, *, newest: str, system_prompt: str) -> Context:
    """Choose what goes upstream: the newest user message always, and of the history before it the newest that fit.

    `history` are the messages before it. MAX_CONVERSATION_HISTORY and MAX_TOKEN_BUDGET (characters) include everything
    sent, the system prompt too. One query; a second one where something is left out.
    """
    most_messages = settings.MAX_CONVERSATION_HISTORY - 1 - bool(system_prompt)
    room = settings.MAX_TOKEN_BUDGET - len(newest) - len(system_prompt)
    chosen = [{"role": "user", "content": newest}]
    characters = len(newest) + len(system_prompt)
    considered = 0
    reason = None
    for role, length, content in _newest_first(history, limit=max(0, most_messages) + 1, longest=max(0, room)):
        if considered >= most_messages:
            reason = "messages"
        elif length > room:
            reason = "characters"
        if reason:
            break
        considered += 1
        room -= length
        characters += length
        chosen.append({"role": role, "content": content})
    chosen.reverse()
    receipt: dict[str, Any] = {"messages": len(chosen), "characters": characters, "left_out": 0, "reason": reason}
    if reason:
        receipt["left_out"] = history.for_context()[: MOST_COUNTED + considered].count() - considered
    return Context(messages=chosen, receipt=receipt)


def _newest_first(history: MessageQuerySet, *, limit: int, longest: int) -> list[tuple[str, int, str]]:
    # Of a message that can't fit anyway only a beginning is read: a reply may be a mebibyte.
    return list(
        history.for_context()
        .newest_first()
        .annotate(length=Length("content"), beginning=Left("content", longest + 1))
        .values_list("role", "length", "beginning")[:limit]
    )
