"""Choose what goes upstream: the newest messages of a conversation, within two budgets and the protocol's limits.

Principle: what goes upstream is valid for the strictest chat template. It begins with a user message, and roles alternate. So
messages are kept or dropped in exchanges, each questions with their answers. Several messages in a row from one side are
joined, so a question without an answer goes up together with the next question. If not all questions of an exchange fit, the
oldest are left out. A question that the inference service refused for its content stays out, because it would be refused again.
Calls of tools and their outputs belong to the answer, and stay together (see `tool_rounds`). Messages of the role `system`,
which only the predecessor wrote, are put before the next user message. The summary says how much is left out.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.conf import settings

from conversations.exceptions import ToolOutputMismatch
from conversations.models import Role
from conversations.services.sending.tool_rounds import TOOL, messages_of_round, rounds_of, with_whole_rounds
from conversations.services.sending.upstream_messages import History, HistoryRow
from inference_proxy.protocols import PROTOCOLS
from inference_proxy.protocols.tool_calls import write_call_id

# Each send counts the messages that it leaves out, up to this number.
MOST_COUNTED = 1_000
SEPARATOR = "\n\n"

# Read more rows than may go upstream, because empty and refused ones use nothing of the budget.
SPARE_ROWS = 8
# If those are not enough, read eight times as many rows, and so on, up to this number.
MOST_READ = 1_000


@dataclass(frozen=True, slots=True)
class Budget:
    """The rest of MAX_CONVERSATION_HISTORY and MAX_TOKEN_BUDGET (characters) after the newest message and the system prompt.

    The protocol may have lower limits. A system prompt over those is cut.
    """

    newest: str
    system_prompt: str
    prompt_left_out: int
    messages: int
    characters: int
    message_characters: int
    # Set if the newest message is the output of this call.
    call_id: str = ""

    @classmethod
    def left_by(cls, newest: str, system_prompt: str, call_id: str = "") -> "Budget":
        protocol = PROTOCOLS[settings.INFERENCE_PROTOCOL]
        longest = protocol.max_message_characters or sys.maxsize
        total = protocol.max_total_characters or sys.maxsize
        prompt = system_prompt[: max(0, min(longest, total - len(newest)))]
        return cls(
            newest=newest,
            system_prompt=prompt,
            prompt_left_out=len(system_prompt) - len(prompt),
            messages=max(0, settings.MAX_CONVERSATION_HISTORY - 1 - bool(prompt)),
            characters=max(0, min(settings.MAX_TOKEN_BUDGET, total) - len(newest) - len(prompt)),
            message_characters=longest,
            call_id=call_id,
        )

    @property
    def rows_to_read(self) -> int:
        return self.messages + 1 + SPARE_ROWS

    @property
    def characters_to_read(self) -> int:
        """One more than fits: enough to see that a message is too long without reading all of it."""
        return self.characters + 1


@dataclass(frozen=True, slots=True)
class Context:
    """The messages for upstream, oldest first, and the summary of them for `Message.context`."""

    system_prompt: str
    messages: list[dict[str, Any]]
    summary: dict[str, Any]
    # Of how many stored messages each message is made, and the newest question, which may be joined with others.
    rows: tuple[int, ...] = ()
    newest: str = ""


@dataclass(slots=True)
class _Choice:
    """The messages chosen so far, newest first, and how many rows they are made of."""

    budget: Budget
    messages: list[dict[str, Any]] = field(default_factory=list)
    rows_of_each: list[int] = field(default_factory=list)
    rows: int = 0
    characters: int = 0

    def refusal(self, *sides: list[HistoryRow]) -> str | None:
        """Return the limit that these rows would break, or None if they fit. Each side becomes one message."""
        lengths = [_joined_length(side) for side in sides]
        # The limits are for what comes before the newest message.
        if self.rows + sum(map(len, sides)) > self.budget.messages + 1:
            return "messages"
        if self.characters + sum(lengths) > self.budget.characters + len(self.budget.newest):
            return "characters"
        return "characters" if max(lengths) > self.budget.message_characters else None

    def add(self, *sides: list[HistoryRow]) -> None:
        for side in filter(None, sides):
            has_tools = any(row[5] for row in side)
            for message, rows in messages_of_round(side, _joined) if has_tools else ((_joined(side), len(side)),):
                self.messages.append(message)
                self.rows_of_each.append(rows)
            self.rows += len(side)
            self.characters += _joined_length(side)


def build_context(history: History, budget: Budget, rows: list[HistoryRow] | None = None) -> Context:
    """Choose the newest user message, and as many of the newest exchanges before it as fit.

    `rows` are the newest `budget.rows_to_read` rows of the history, if the caller has read them.
    """
    most = budget.rows_to_read
    rows = history.read(rows=most, characters=budget.characters_to_read) if rows is None else rows
    while True:
        may_read_more = len(rows) == most and most < MOST_READ
        try:
            choice, reason = _choose(rows, budget)
        except ToolOutputMismatch:
            if not may_read_more:
                raise
        else:
            if reason or not may_read_more:
                break
        most = min(8 * most, MOST_READ)
        rows = history.read(rows=most, characters=budget.characters_to_read)
    messages = choice.messages[::-1]
    used = choice.rows - 1
    said = sum(bool(row[2]) for row in rows) if len(rows) < most else history.count(MOST_COUNTED + used)
    left_out = said - used
    if left_out and not reason:
        reason = "refused" if any(row[1] for row in rows) else "unanswered"
    summary: dict[str, Any] = {
        "messages": len(messages),
        "characters": len(budget.system_prompt) + choice.characters,
        "left_out": left_out,
        "reason": reason if left_out else None,
    }
    if budget.prompt_left_out:
        summary["system_prompt_left_out"] = budget.prompt_left_out
    return Context(budget.system_prompt, messages, summary, rows=tuple(choice.rows_of_each[::-1]), newest=budget.newest)


def _choose(rows: list[HistoryRow], budget: Budget) -> tuple[_Choice, str | None]:
    """Return what fits, and the limit that was reached, or None if nothing older remains."""
    choice = _Choice(budget)
    if budget.call_id:
        output = orjson.dumps(write_call_id(budget.call_id)).decode()
        newest: HistoryRow = (Role.USER, False, len(budget.newest) + len(output), budget.newest, "", output)
        exchanges = _exchanges(_usable(with_whole_rounds([newest, *rows], newest_call_id=budget.call_id)))
        next(exchanges)
        reason = _add_last_rounds(choice, *next(exchanges))
    else:
        newest = (Role.USER, False, len(budget.newest), budget.newest, "", None)
        exchanges = _exchanges(_usable(with_whole_rounds(rows, newest_call_id="") if any(row[5] for row in rows) else rows))
        unanswered = next(exchanges)[0]
        asked, reason = _asked_that_fit(choice, [newest, *unanswered], [])
        choice.add(asked)
    for asked, answered in exchanges:
        # Without a question, these are the oldest rows of the conversation or of those that were read.
        if reason or not asked:
            break
        asked, reason = _asked_that_fit(choice, asked, answered)
        if asked:
            choice.add(answered, asked)
    return choice, reason


def _add_last_rounds(choice: _Choice, asked: list[HistoryRow], answered: list[HistoryRow]) -> str | None:
    """Add the question of the newest output, and as many of the newest rounds as fit. The last round fits always.

    Return the limit that was reached, None if all fits.
    """
    reason = None
    fit, *more = rounds_of(answered)
    for count in more:
        reason = choice.refusal(answered[:count], *filter(None, (asked,)))
        if reason:
            break
        fit = count
    choice.add(answered[:fit], asked)
    return reason


def _asked_that_fit(
    choice: _Choice, asked: list[HistoryRow], answered: list[HistoryRow]
) -> tuple[list[HistoryRow], str | None]:
    """Return the newest of these questions that fit together with their answers, and the limit that keeps the others out.

    The newest message of all, which has no answers yet, fits always.
    """
    answers = [answered] if answered else []
    reason = choice.refusal(*answers, asked)
    if reason is None:
        return asked, None
    fewest = 0 if answered else 1
    # A longer beginning is never shorter in characters, so the limit can be found by halving.
    fit, too_many = fewest, len(asked)
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        if choice.refusal(*answers, asked[:middle]) is None:
            fit = middle
        else:
            too_many = middle
    # Of rows of the role `system` alone, the model would not know what they belong to.
    kept = asked[:fit] if not answered or any(row[0] == Role.USER for row in asked[:fit]) else []
    return kept, reason


def _usable(rows: Iterable[HistoryRow]) -> Iterator[HistoryRow]:
    """Yield the rows that the model may see, newest first. Leave out empty ones, and questions that were refused."""
    is_refused = False
    has_text = False
    is_after_answers = False
    for row in rows:
        role, is_refusal, length, *_ = row
        if role == Role.ASSISTANT:
            # Of several answers to one question, any text shows that the question was taken.
            has_text = bool(length) or (is_after_answers and has_text)
            is_refused = (is_refusal or (is_after_answers and is_refused)) and not has_text
            is_after_answers = True
        elif role == Role.USER:
            is_after_answers = False
            was_refused, is_refused = is_refused, False
            if was_refused:
                continue
        if length:
            yield row


def _exchanges(rows: Iterable[HistoryRow]) -> Iterator[tuple[list[HistoryRow], list[HistoryRow]]]:
    """Yield pairs of questions and answers, newest first.

    The first pair has the rows after the last answer, and no answer. The last pair may have no question.
    """
    asked: list[HistoryRow] = []
    answered: list[HistoryRow] = []
    is_first = True
    for row in rows:
        if row[0] not in (Role.ASSISTANT, TOOL):
            asked.append(row)
            continue
        if asked or is_first:
            yield asked, answered
            asked, answered, is_first = [], [], False
        answered.append(row)
    yield asked, answered


def _joined(side: list[HistoryRow]) -> dict[str, Any]:
    role = Role.ASSISTANT if side[0][0] == Role.ASSISTANT else Role.USER
    message = {"role": role.value, "content": SEPARATOR.join(row[3] for row in reversed(side))}
    if reasoning := SEPARATOR.join(row[4] for row in reversed(side) if row[4]):
        message["reasoning_content"] = reasoning
    return message


def _joined_length(rows: list[HistoryRow]) -> int:
    thoughts = sum(bool(row[4]) for row in rows)
    return sum(row[2] for row in rows) + len(SEPARATOR) * (len(rows) - 1 + max(0, thoughts - 1))
