"""Which models users may choose, and how seldom the inference service is asked."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import responses

from inference_proxy.exceptions import UpstreamUnavailable
from inference_proxy.upstream import model_list as module
from inference_proxy.upstream.model_list import (
    FAILED_S,
    SHOWN_S,
    ModelList,
    ModelListNeeded,
    is_allowed,
    list_allowed_models,
    model_list,
    swap_loaded_model,
)
from tests.support.waiting import LIMIT_S

OPENAI_LIST = {"data": [{"id": "small"}, {"id": "large"}]}


@pytest.fixture(autouse=True)
def address(settings: Any) -> str:
    settings.INFERENCE_PROTOCOL = "openai"
    return f"{settings.INFERENCE_SERVICE_URL}/v1/models"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    chosen = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: chosen.now))
    return chosen


def judge(model_tag: str, where_unknown: bool = False) -> bool:
    """Do as callers do: read the list where it is needed."""
    try:
        return is_allowed(model_tag, where_unknown=where_unknown)
    except ModelListNeeded:
        model_list.read()
        return is_allowed(model_tag, where_unknown=where_unknown)


def test_what_the_service_lists(outbound: responses.RequestsMock, address: str) -> None:
    outbound.get(address, json=OPENAI_LIST)
    assert [judge(tag) for tag in ("small", "large", "huge", "Small")] == [True, True, False, False]
    assert len(outbound.calls) == 1


@pytest.mark.parametrize("tag", ["", "default", "the-operators"])
def test_the_default_needs_no_list(settings: Any, tag: str) -> None:
    settings.INFERENCE_MODEL = "the-operators"
    assert is_allowed(tag, where_unknown=False)
    settings.ALLOWED_MODELS = frozenset({"small"})
    assert is_allowed(tag, where_unknown=False)


def test_the_operators_list_needs_no_call(settings: Any) -> None:
    settings.ALLOWED_MODELS = frozenset({"small"})
    assert [is_allowed(tag, where_unknown=True) for tag in ("small", "large")] == [True, False]


def test_where_requests_name_no_model_every_tag_is_a_name(settings: Any) -> None:
    settings.INFERENCE_PROTOCOL = "nanochat"
    assert is_allowed("anything", where_unknown=False)
    settings.ALLOWED_MODELS = frozenset({"small"})
    assert not is_allowed("anything", where_unknown=True)


def test_it_is_remembered_for_a_minute(outbound: responses.RequestsMock, address: str, clock: Any) -> None:
    outbound.get(address, json=OPENAI_LIST)
    for _ in range(6):
        judge("small")
        clock.now += 10
    assert len(outbound.calls) == 1
    outbound.replace(responses.GET, address, json={"data": [{"id": "large"}]})
    assert not judge("small")
    assert len(outbound.calls) == 2


FAILURES: list[dict[str, Any]] = [
    {"body": requests.ConnectionError("refused")},
    {"status": 404, "json": {}},
    {"status": 200, "body": "no json"},
    {"status": 200, "json": {"data": []}},
    {"status": 200, "json": {}},
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda how: str(how)[:40])
def test_without_a_list_the_caller_decides(
    outbound: responses.RequestsMock, address: str, clock: Any, failure: dict[str, Any]
) -> None:
    outbound.get(address, **failure)
    assert [judge("small", where_unknown) for where_unknown in (True, False)] == [True, False]
    assert len(outbound.calls) == 1


@pytest.mark.parametrize("failure", FAILURES, ids=lambda how: str(how)[:40])
def test_what_it_last_said_counts_while_it_is_away(
    outbound: responses.RequestsMock, address: str, clock: Any, failure: dict[str, Any]
) -> None:
    outbound.get(address, json=OPENAI_LIST)
    judge("small")
    outbound.replace(responses.GET, address, **failure)
    clock.now += 60
    assert [judge(tag, where_unknown=True) for tag in ("small", "huge")] == [True, False]
    assert len(outbound.calls) == 2
    # Tried again soon, not each time.
    clock.now += 9
    judge("small")
    assert len(outbound.calls) == 2
    clock.now += 1
    judge("small")
    assert len(outbound.calls) == 3


@pytest.fixture
def slow(outbound: responses.RequestsMock, address: str) -> Any:
    """A service that answers when it is told to."""
    gate = SimpleNamespace(asked=threading.Semaphore(0), opened=threading.Event())

    def answer(_: Any) -> tuple[int, dict[str, str], str]:
        gate.asked.release()
        assert gate.opened.wait(LIMIT_S)
        return 200, {}, '{"data": [{"id": "small"}]}'

    outbound.add_callback(responses.GET, address, answer)
    return gate


def read_at_once(times: int, models: ModelList, slow: Any, meanwhile: Callable[[], None]) -> None:
    with ThreadPoolExecutor(times) as threads:
        first = threads.submit(models.read)
        assert slow.asked.acquire(timeout=LIMIT_S)
        others = [threads.submit(models.read) for _ in range(times - 1)]
        try:
            meanwhile()
        finally:
            slow.opened.set()
        for call in (first, *others):
            call.result(LIMIT_S)


def test_many_that_need_it_make_one_call(outbound: responses.RequestsMock, slow: Any) -> None:
    models = ModelList()
    read_at_once(8, models, slow, lambda: None)
    assert models.names() == {"small"}
    assert len(outbound.calls) == 1


def test_who_has_an_old_list_does_not_wait(outbound: responses.RequestsMock, slow: Any) -> None:
    models = ModelList()
    models._names = frozenset({"old"})

    def use_the_old_one() -> None:
        models.read()
        assert models.names() == {"old"}

    read_at_once(2, models, slow, use_the_old_one)
    assert models.names() == {"small"}


def test_the_page_of_models_names_only_allowed_ones(outbound: responses.RequestsMock, address: str, settings: Any) -> None:
    outbound.get(address, json=OPENAI_LIST)
    assert [model["model_tag"] for model in list_allowed_models()["models"]] == ["small", "large"]
    settings.ALLOWED_MODELS = frozenset({"large", "missing"})
    assert [model["model_tag"] for model in list_allowed_models()["models"]] == ["large"]


def test_many_that_read_the_page_of_models_make_one_call(outbound: responses.RequestsMock, slow: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(list_allowed_models) for _ in range(8)]
        slow.opened.set()
        pages = [reader.result(LIMIT_S) for reader in readers]
    assert pages == [list_allowed_models()] * 8
    assert len(outbound.calls) == 1


def test_the_page_of_models_is_read_again_after_a_while(outbound: responses.RequestsMock, address: str) -> None:
    outbound.get(address, json=OPENAI_LIST)
    list_allowed_models()
    model_list.shown._read_at -= SHOWN_S
    list_allowed_models()
    assert len(outbound.calls) == 2


def test_a_failure_of_the_page_of_models_is_remembered_for_a_short_time(outbound: responses.RequestsMock, address: str) -> None:
    failing = outbound.get(address, status=503)
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable):
            list_allowed_models()
    assert len(outbound.calls) == 1
    outbound.remove(failing)
    outbound.get(address, json=OPENAI_LIST)
    model_list.shown._read_at -= FAILED_S
    assert len(list_allowed_models()["models"]) == 2


def test_a_swap_forgets_the_page_of_models(outbound: responses.RequestsMock, settings: Any) -> None:
    settings.INFERENCE_PROTOCOL = "nanochat"
    url = settings.INFERENCE_SERVICE_URL
    outbound.get(f"{url}/models", json={"current_model": "d20", "models": []})
    outbound.post(f"{url}/models/swap", json={"status": "swapping", "current_model": "d32"}, status=202)
    list_allowed_models()
    assert model_list.shown.loaded_model() == "d20"
    swap_loaded_model("d32")
    assert model_list.shown.loaded_model() == ""
    list_allowed_models()
    assert [call.request.method for call in outbound.calls] == ["GET", "POST", "GET"]


@pytest.mark.parametrize("allowed", [frozenset(), frozenset({"large"})])
@pytest.mark.parametrize("answer", [{"models": "none"}, {"models": [7, None, {}, {"model_tag": 7}]}, {"models": None}, {}])
def test_a_strange_answer_is_no_error(
    outbound: responses.RequestsMock, settings: Any, answer: Any, allowed: frozenset[str]
) -> None:
    settings.INFERENCE_PROTOCOL = "nanochat"
    settings.ALLOWED_MODELS = allowed
    outbound.get(f"{settings.INFERENCE_SERVICE_URL}/models", json=answer)
    assert list_allowed_models()["models"] == []
