"""How a request becomes shorter, and what is learnt of the lengths that models take."""

import itertools

import pytest

from inference_proxy.protocols.base import GenerationRequest
from inference_proxy.replies import model_limits as model_limits_module
from inference_proxy.replies.model_limits import ModelLimits, shortened, size_of


def request_of(exchanges: int, *, characters: int = 100, letter: str = "x") -> GenerationRequest:
    text = letter * characters
    history = [{"role": role, "content": text} for _ in range(exchanges) for role in ("user", "assistant")]
    return GenerationRequest([*history, {"role": "user", "content": text}], newest=text)


@pytest.mark.parametrize("exchanges", [1, 2, 3, 10, 500])
def test_the_history_is_halved_until_the_newest_question_is_alone(exchanges: int) -> None:
    request: GenerationRequest | None = request_of(exchanges)
    kept = []
    while request is not None:
        assert request.messages[0]["role"] == request.messages[-1]["role"] == "user"
        kept.append(len(request.messages) // 2)
        last, request = request, shortened(request)
    assert all(after == before // 2 for before, after in itertools.pairwise(kept))
    assert (len(last.messages), last.left_out) == (1, 2 * exchanges)


def test_stored_messages_are_counted() -> None:
    messages = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant", "user")]
    shorter = shortened(GenerationRequest(messages, rows=(3, 2, 1, 1, 1)))
    assert shorter is not None
    assert (shorter.messages, shorter.rows, shorter.left_out) == (messages[2:], (1, 1, 1), 5)


def test_questions_that_were_joined_with_the_newest_are_left_out_last() -> None:
    request = GenerationRequest([{"role": "user", "content": "long\n\nlonger\n\nnew"}], rows=(3,), newest="new")
    shorter = shortened(request)
    assert shorter is not None
    assert (shorter.messages, shorter.left_out) == ([{"role": "user", "content": "new"}], 2)
    assert shortened(shorter) is None


@pytest.mark.parametrize("letter", ["x", "अ", "中"])
def test_a_named_limit_holds_for_the_next_request(letter: str) -> None:
    limits, request = ModelLimits(), request_of(10, letter=letter)
    # 2,100 letters are 3,000 tokens. A reply may take 200 of 1,600.
    assert limits.learn_limit("m", size_of(request), (1600, 3000), 200)
    fitting = limits.fit("m", request)
    assert len(fitting.messages) == 9
    assert fitting.left_out == 12
    assert limits.fit("other", request) is request
    assert limits.fit("m", fitting) is fitting


@pytest.mark.parametrize("named", [(1600, 10), (1600, 10**8), (9000, 3000)])
def test_numbers_that_cannot_be_true_are_not_learnt(named: tuple[int, int]) -> None:
    limits, request = ModelLimits(), request_of(10)
    assert not limits.learn_limit("m", size_of(request), named, None)
    assert limits.fit("m", request) is request


def test_a_request_that_was_taken_is_the_limit_where_none_is_named() -> None:
    limits = ModelLimits()
    limits.learn_taken("m", size_of(request_of(5)), None)
    assert len(limits.fit("m", request_of(10)).messages) == 11


def test_the_latest_count_of_tokens_wins() -> None:
    limits, request = ModelLimits(), request_of(20)
    limits.learn_limit("m", 1_000, (1000, 2000), 0)
    assert len(limits.fit("m", request).messages) == 3
    limits.note_count("m", 1_000, 250)
    assert len(limits.fit("m", request).messages) == 35


def test_a_limit_is_forgotten_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, request = ModelLimits(), request_of(10)
    monkeypatch.setattr(model_limits_module, "REMEMBERED_S", -1.0)
    limits.learn_taken("m", 500, None)
    assert limits.fit("m", request) is request


def test_no_more_models_are_remembered_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_limits_module, "MOST_MODELS", 2)
    limits = ModelLimits()
    for model in ("a", "b", "c"):
        limits.learn_taken(model, 500, None)
    assert [limits.knows(model) for model in ("a", "b", "c")] == [False, True, True]


def test_the_newest_question_goes_up_even_if_it_is_longer_than_the_limit() -> None:
    limits = ModelLimits()
    limits.learn_taken("m", 10, None)
    joined = GenerationRequest([{"role": "user", "content": "old\n\n" + "n" * 50}], rows=(2,), newest="n" * 50)
    assert limits.fit("m", joined).messages == [{"role": "user", "content": "n" * 50}]
    assert len(limits.fit("m", request_of(3)).messages) == 1
