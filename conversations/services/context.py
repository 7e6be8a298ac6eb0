"""What the model gets to see of a conversation: its newest messages, within two budgets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models.functions import Left, Length

from conversations.querysets import MessageQuerySet

# Counting what was left out of a long conversation stops here: each send counts anew.
MOST_COUNTED = 1_000

# Role, length in characters, and the beginning of the content: all of it where it fits into the budget.
HistoryRow = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Budget:
    """What the newest message and the system prompt leave of MAX_CONVERSATION_HISTORY and MAX_TOKEN_BUDGET (characters)."""

    newest: str
    system_prompt: str
    messages: int
    characters: int

    @classmethod
    def left_by(cls, newest: str, system_prompt: str) -> "Budget":
        return cls(
            newest=newest,
            system_prompt=system_prompt,
            messages=max(0, settings.MAX_CONVERSATION_HISTORY - 1 - bool(system_prompt)),
            characters=max(0, settings.MAX_TOKEN_BUDGET - len(newest) - len(system_prompt)),
        )

    @property
    def rows_to_read(self) -> int:
        """One more than fit, to know whether anything is left out."""
        return self.messages + 1

    @property
    def characters_to_read(self) -> int:
        """Of a message that can't fit only a beginning is read: a reply may be a mebibyte."""
        return self.characters + 1


@dataclass(frozen=True, slots=True)
class Context:
    """The messages for upstream, oldest first, and the receipt that the reply keeps of them."""

    messages: list[dict[str, str]]
    receipt: dict[str, Any]


def read_history(history: MessageQuerySet, budget: Budget) -> list[HistoryRow]:
    """Read what may fit of a history, newest first. One query."""
    return list(
        history.for_context()
        .newest_first()
        .annotate(length=Length("content"), beginning=Left("content", budget.characters_to_read))
        .values_list("role", "length", "beginning")[: budget.rows_to_read]
    )


def count_history(history: MessageQuerySet, most: int) -> int:
    """Count the messages of a history, up to so many. One query."""
    return history.for_context()[:most].count()


def build_context(rows: Iterable[HistoryRow], budget: Budget, count: Callable[[int], int]) -> Context:
    """Choose what goes upstream: the newest user message always, and of the history before it the newest that fit.

    `rows` are what `read_history` returns. Where something is left out, `count` tells how long the history is, up to a number.
    """
    chosen = [{"role": "user", "content": budget.newest}]
    room = budget.characters
    reason = None
    for role, length, content in rows:
        if len(chosen) > budget.messages:
            reason = "messages"
        elif length > room:
            reason = "characters"
        if reason:
            break
        room -= length
        chosen.append({"role": role, "content": content})
    chosen.reverse()
    receipt: dict[str, Any] = {
        "messages": len(chosen),
        "characters": len(budget.system_prompt) + sum(len(message["content"]) for message in chosen),
        "left_out": 0,
        "reason": reason,
    }
    if reason:
        used = len(chosen) - 1
        receipt["left_out"] = count(MOST_COUNTED + used) - used
    return Context(messages=chosen, receipt=receipt)
