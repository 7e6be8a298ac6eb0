"""What models cost (MODEL_PRICES): per million tokens of prompts and of replies.

A price may begin on a day (UTC), so that what was used before keeps its cost when a provider changes its prices. Unknown is
unknown: a model without a price has no cost, and not the cost 0.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from chatapi.environment.problem import EnvironmentProblem

MILLION = 1_000_000
MOST = Decimal(1_000_000_000)
FORM = (
    'must be a JSON object such as {"gpt-4o*": {"prompt": 2.5, "completion": 10}}: prices per million tokens, '
    'or a list of them with "since": "2026-12-01"'
)


@dataclass(frozen=True, slots=True)
class Price:
    """Per million tokens, from the day `since` on."""

    prompt: Decimal
    completion: Decimal
    since: date = date.min


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """The prices of the models whose names match `pattern`, newest first. In a pattern, `*` matches any text."""

    pattern: str
    prices: tuple[Price, ...]

    def on(self, day: date) -> Price | None:
        return next((price for price in self.prices if price.since <= day), None)


@dataclass(slots=True)
class Cost:
    """A sum of costs. `is_whole` is false if something that was added has no known cost."""

    known: Decimal = field(default_factory=Decimal)
    is_whole: bool = True

    @property
    def whole(self) -> Decimal | None:
        """The sum, or None if it is not known."""
        return self.known if self.is_whole else None

    def add(self, cost: Decimal | None) -> None:
        if cost is None:
            self.is_whole = False
        else:
            self.known += cost


def parse_prices(name: str, text: str) -> tuple[ModelPrice, ...]:
    """Read a JSON object of prices. Raises `EnvironmentProblem`."""
    if not text:
        return ()
    try:
        read = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        if not isinstance(read, dict):
            raise ValueError
        return tuple(_read_model(pattern, told) for pattern, told in read.items())
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        raise EnvironmentProblem(f"{name} {FORM}") from None


def _read_model(pattern: str, told: Any) -> ModelPrice:
    prices = [_read_price(one) for one in (told if isinstance(told, list) else [told])]
    if not pattern or not prices or len({price.since for price in prices}) < len(prices):
        raise ValueError
    return ModelPrice(pattern, tuple(sorted(prices, key=lambda price: price.since, reverse=True)))


def _read_price(told: Any) -> Price:
    if not isinstance(told, dict) or not set(told) <= {"prompt", "completion", "since"}:
        raise TypeError
    since = date.fromisoformat(told["since"]) if "since" in told else date.min
    return Price(prompt=_amount(told["prompt"]), completion=_amount(told["completion"]), since=since)


def _amount(value: Any) -> Decimal:
    if not isinstance(value, Decimal) or not 0 <= value <= MOST:
        raise ValueError
    return value


def price_of(prices: Sequence[ModelPrice], model: str | None, day: date) -> Price | None:
    """Return the price of a model on a day: of its own name, else of the first pattern that matches."""
    if not model:
        return None
    named = [one for one in prices if one.pattern == model]
    matching = named or [one for one in prices if fnmatchcase(model, one.pattern)]
    return matching[0].on(day) if matching else None


def cost_of(price: Price | None, *, tokens: int, prompt_tokens: int | None) -> Decimal | None:
    """Return what a reply cost. None: its model has no price, or prompts have one and the length of this one is unknown."""
    if price is None or (prompt_tokens is None and price.prompt):
        return None
    return (price.completion * tokens + price.prompt * (prompt_tokens or 0)) / MILLION
