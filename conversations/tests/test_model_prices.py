"""MODEL_PRICES: what it takes, and what a reply costs."""

from datetime import date
from decimal import Decimal

import pytest

from chatapi.environment import EnvironmentProblem
from conversations.services.usage.model_prices import cost_of, parse_prices, price_of

DAY = date(2026, 11, 30)
PRICES = """{
    "gpt-4o*": {"prompt": 2.5, "completion": 10},
    "gpt-4o-mini": {"prompt": 0.15, "completion": 0.6},
    "own": [{"prompt": 0, "completion": 2}, {"since": "2026-12-01", "prompt": 0, "completion": 1}],
    "later": [{"since": "2026-12-01", "prompt": 1, "completion": 1}]
}"""


@pytest.mark.parametrize(
    ("model", "day", "completion"),
    [
        ("gpt-4o", DAY, "10"),
        ("gpt-4o-2026-08-06", DAY, "10"),
        # Its own name comes first.
        ("gpt-4o-mini", DAY, "0.6"),
        ("own", DAY, "2"),
        ("own", date(2026, 12, 1), "1"),
        ("later", DAY, None),
        ("GPT-4o", DAY, None),
        ("", DAY, None),
        (None, DAY, None),
    ],
)
def test_which_price_counts(model: str | None, day: date, completion: str | None) -> None:
    price = price_of(parse_prices("MODEL_PRICES", PRICES), model, day)
    assert (None if price is None else price.completion) == (None if completion is None else Decimal(completion))


def test_what_a_reply_costs() -> None:
    prices = parse_prices("MODEL_PRICES", PRICES)
    dear, own = price_of(prices, "gpt-4o", DAY), price_of(prices, "own", DAY)
    assert cost_of(dear, tokens=100, prompt_tokens=1000) == Decimal("0.0035")
    # Nobody knows what the prompt cost, unless prompts cost nothing.
    assert cost_of(dear, tokens=100, prompt_tokens=None) is None
    assert cost_of(own, tokens=100, prompt_tokens=None) == Decimal("0.0002")
    assert cost_of(None, tokens=100, prompt_tokens=1000) is None


def test_no_prices() -> None:
    assert parse_prices("MODEL_PRICES", "") == ()


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o=2",
        "[]",
        "1",
        '{"": {"prompt": 1, "completion": 1}}',
        '{"a": 1}',
        '{"a": []}',
        '{"a": {"prompt": 1}}',
        '{"a": {"prompt": 1, "completion": -1}}',
        '{"a": {"prompt": 1, "completion": "1"}}',
        '{"a": {"prompt": true, "completion": 1}}',
        '{"a": {"prompt": NaN, "completion": 1}}',
        '{"a": {"prompt": Infinity, "completion": 1}}',
        '{"a": {"prompt": 1e99, "completion": 1}}',
        '{"a": {"prompt": 1, "completion": 1, "image": 1}}',
        '{"a": {"prompt": 1, "completion": 1, "since": "soon"}}',
        '{"a": {"prompt": 1, "completion": 1, "since": 2026}}',
        '{"a": [{"prompt": 1, "completion": 1}, {"prompt": 2, "completion": 1}]}',
        '{"a": {"prompt": 1, "completion": 1}',
        "[" * 100_000,
    ],
    ids=range(19),
)
def test_malformed_prices_are_refused(text: str) -> None:
    with pytest.raises(EnvironmentProblem, match="MODEL_PRICES must be a JSON object"):
        parse_prices("MODEL_PRICES", text)
