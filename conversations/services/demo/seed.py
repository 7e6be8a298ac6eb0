"""Plausible conversations in any number, for demonstrations, benchmarks and tests.

Everything comes from one random generator: the same seed, numbers and end give the same rows, ids included. Rows go in
by COPY and are made as they go, so that ten million of them need no memory.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from conversations.services.demo.words import ANSWERS, FIRST_NAMES, LAST_NAMES, OPENINGS, QUESTIONS, SUBJECTS

SPAN_DAYS = 365
FAVORITE_SHARE = 0.03
EMPTY_SHARE = 0.02
MODEL_TAGS = ("default", "d20", "d26", "d32")
# Its replies have reasoning.
REASONING_MODEL = "d32"
MOST_SENTENCES = 12
# The share of replies with each status.
ENDINGS = (("complete", 0.94), ("stopped", 0.03), ("interrupted", 0.02), ("failed", 0.01))

USER_COLUMNS = "id, email, name, first_seen_at, last_seen_at"
CONVERSATION_COLUMNS = "id, user_id, title, model_tag, created_at, updated_at, is_favorited, title_source"
MESSAGE_COLUMNS = (
    "id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, status, parent_id, "
    "prompt_tokens, first_token_ms, finish_reason, error_code, feedback, reasoning"
)


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """How much to make, in all; `until` is when the last turn was."""

    users: int
    conversations: int
    messages: int
    seed: int
    until: datetime


@dataclass(frozen=True, slots=True)
class _Conversation:
    id: UUID
    user_id: UUID
    model_tag: str
    started_at: datetime
    turns: int


def seed_demo(*, plan: SeedPlan, on_rows: Callable[[int], None] = lambda count: None) -> None:
    """Fill the tables in one transaction. `on_rows` hears how many more rows are in.

    Raises `IntegrityError` at the second time.
    """
    with transaction.atomic():
        _copy("chat_users", USER_COLUMNS, _users(plan), on_rows)
        _copy("conversations", CONVERSATION_COLUMNS, map(_conversation_row, _conversations(plan)), on_rows)
        _copy("messages", MESSAGE_COLUMNS, _messages(plan), on_rows)
    with connection.cursor() as cursor:
        # Without statistics the first queries would take the tables for empty.
        cursor.execute("ANALYZE chat_users, conversations, messages")


def _copy(table: str, columns: str, rows: Iterator[tuple[Any, ...]], on_rows: Callable[[int], None]) -> None:
    # Django translates the errors of statements, but not those of COPY.
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy,
    ):
        for number, row in enumerate(rows, start=1):
            copy.write_row(row)
            if number % 1000 == 0:
                on_rows(1000)


def _id(chance: random.Random, moment: datetime) -> UUID:
    """Return a UUIDv7 of that moment."""
    milliseconds = int(moment.timestamp() * 1000)
    noise = chance.getrandbits(74)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (noise >> 62) << 64 | 0b10 << 62 | noise & (1 << 62) - 1)


def _user_ids(plan: SeedPlan) -> list[UUID]:
    chance = random.Random(f"users {plan.seed}")
    return [UUID(int=chance.getrandbits(128), version=4) for _ in range(plan.users)]


def _users(plan: SeedPlan) -> Iterator[tuple[Any, ...]]:
    chance = random.Random(f"names {plan.seed}")
    for number, user_id in enumerate(_user_ids(plan)):
        first, last = chance.choice(FIRST_NAMES), chance.choice(LAST_NAMES)
        email = f"{first}.{last}.{number}@example.com".lower()
        yield user_id, email, f"{first} {last}", plan.until - timedelta(days=SPAN_DAYS), plan.until


def _conversations(plan: SeedPlan) -> Iterator[_Conversation]:
    """Yield the conversations, the same ones at every call; their turns add up to the messages that were asked for."""
    chance = random.Random(f"conversations {plan.seed}")
    user_ids = _user_ids(plan)
    turns_left = plan.messages // 2
    for number in range(plan.conversations):
        left = plan.conversations - number
        # Around the average, the last one taking what remains.
        turns = turns_left if left == 1 else min(turns_left, round(chance.uniform(0, 2) * turns_left / left))
        if left > 1 and chance.random() < EMPTY_SHARE:
            turns = 0
        turns_left -= turns
        # One after the other, as they would have come: rows lie on the disk in the order of their time.
        age = (plan.conversations - number - chance.random()) / plan.conversations
        started_at = plan.until - timedelta(seconds=3600 + age * SPAN_DAYS * 86400)
        yield _Conversation(
            id=_id(chance, started_at),
            # Some users talk much more than others.
            user_id=user_ids[int(len(user_ids) * chance.random() ** 2)],
            model_tag=chance.choice(MODEL_TAGS),
            started_at=started_at,
            turns=turns,
        )


def _turn_time(conversation: _Conversation, turn: int) -> datetime:
    return conversation.started_at + timedelta(seconds=97 * turn)


def _conversation_row(conversation: _Conversation) -> tuple[Any, ...]:
    chance = random.Random(conversation.id.int)
    title = _question(chance) if conversation.turns else "New conversation"
    last = _turn_time(conversation, max(0, conversation.turns - 1))
    source = "auto" if conversation.turns else "default"
    is_favorite = chance.random() < FAVORITE_SHARE
    return (
        conversation.id,
        conversation.user_id,
        title[:80],
        conversation.model_tag,
        conversation.started_at,
        last,
        is_favorite,
        source,
    )


def _messages(plan: SeedPlan) -> Iterator[tuple[Any, ...]]:
    for conversation in _conversations(plan):
        chance = random.Random(conversation.id.int)
        for turn in range(conversation.turns):
            yield from _turn(chance, conversation, _turn_time(conversation, turn))


def _turn(chance: random.Random, conversation: _Conversation, at: datetime) -> Iterator[tuple[Any, ...]]:
    # The generator of the title is the same one: the first question is the title.
    question = _question(chance)
    asked_id, reply_id = _id(chance, at), _id(chance, at + timedelta(milliseconds=1))
    status = chance.choices([name for name, _ in ENDINGS], [share for _, share in ENDINGS])[0]
    answer = "" if status == "failed" else _answer(chance)
    tokens = len(answer) // 4
    yield asked_id, conversation.id, "user", question, None, None, None, at, "complete", *[None] * 6, ""
    yield (
        reply_id,
        conversation.id,
        "assistant",
        answer,
        tokens,
        conversation.model_tag,
        180 + tokens * 21,
        at,
        status,
        asked_id,
        len(question) // 4,
        chance.randint(90, 900) if answer else None,
        "stop" if status == "complete" else None,
        "upstream_error" if status == "failed" else None,
        chance.choice((1, 1, 1, -1)) if chance.random() < 0.05 else None,
        f"The user asks: {question}" if answer and conversation.model_tag == REASONING_MODEL else "",
    )


def _question(chance: random.Random) -> str:
    return f"{chance.choice(OPENINGS)} {chance.choice(QUESTIONS).format(chance.choice(SUBJECTS))}"


def _answer(chance: random.Random) -> str:
    subject = chance.choice(SUBJECTS)
    return " ".join(chance.choice(ANSWERS).format(subject) for _ in range(chance.randint(1, MOST_SENTENCES)))
