import pytest

from benchmarks.ratios import TARGETS, median_figures, ratios_of, ratios_to_one, read_baseline, slope, table, worse_than


def test_the_send_drops_out_of_the_cost_of_one_more_token() -> None:
    send_s, token_s = 0.004, 0.00003
    assert slope(send_s + 350 * token_s, send_s + 50 * token_s, 300) == pytest.approx(token_s)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    rounds = [{"token": 60.0}, {"token": 30.0}, {"token": 90.0}]
    relays = [{"token": 20.0}, {"token": 10.0}, {"token": 90.0}]
    ratios = [ratios_of(ours, relay, "nginx") for ours, relay in zip(rounds, relays, strict=True)]
    assert median_figures(ratios) == {"token / nginx": 3.0}


def test_a_figure_that_the_other_server_lacks_has_no_ratio() -> None:
    assert ratios_of({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 2.0, "c": 0.0}, "nginx") == {"a / nginx": 0.5}


def test_requests_are_compared_with_one_of_them() -> None:
    assert ratios_to_one({"health": 2.0, "send": 10.0}, "health") == {"send / health": 5.0}


def test_only_a_ratio_that_is_15_percent_worse_makes_a_warning() -> None:
    baseline = {"send / health": 4.0, "list / health": 3.0}
    assert worse_than(baseline, {"send / health": 4.5, "list / health": 1.0, "unknown": 9.0}) == []
    assert worse_than(baseline, {"send / health": 4.8}) == ["send / health: 4.80, 20% above the baseline's 4.00"]


def test_the_table_says_which_targets_are_met() -> None:
    lines = table({"send / health": 4.0, "list / health": 9.0, "unknown": 1.0}, {})
    assert [line.rpartition("  ")[2] for line in lines[1:3]] == ["met", "missed"]
    assert "–" in lines[3]


def test_every_ratio_of_the_baseline_with_a_target_is_spelled_like_its_target() -> None:
    shared = {name for name in read_baseline() if not name.endswith("FastAPI")}
    assert shared <= set(TARGETS)
