"""Ratios of what was measured in one run, which machines of different speeds can compare: with targets and with a baseline.

A run has rounds. In each, everything is measured once, one after the other; a ratio is the median of the rounds' ratios, so
that a machine that changes its speed in the course of a run changes the ratios little.
"""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("baseline.json")
WORSE = 1.15
# Of docs/speed.md: the most that each ratio may be.
TARGETS = {
    "PostgreSQL, send / pgbench -N prepared": 4.0,
    "PostgreSQL, create / pgbench -N prepared": 0.8,
    "PostgreSQL, rename / pgbench -N prepared": 0.8,
    "PostgreSQL, get / pgbench -S prepared": 3.0,
    "PostgreSQL, list / pgbench -S prepared": 5.0,
    "token, 50 streams / nginx": 3.0,
    "token, 500 streams / nginx": 2.0,
    "reply of 100 tokens, 50 streams / nginx": 5.0,
    "reply of 100 tokens, 500 streams / nginx": 4.0,
    "send / health": 5.0,
    "list / health": 3.4,
    "get / health": 1.9,
    "create / health": 2.5,
    "rename / health": 2.5,
}

Figures = Mapping[str, float]


def slope(long_s: float, short_s: float, more_tokens: int) -> float:
    """Return what one more token costs: the send, which both replies have, drops out."""
    return (long_s - short_s) / more_tokens


def median_figures(rounds: Sequence[Figures]) -> dict[str, float]:
    """Return the median of every figure, over the rounds that have it."""
    names = {name: None for figures in rounds for name in figures}
    return {name: statistics.median(figures[name] for figures in rounds if name in figures) for name in names}


def ratios_of(figures: Figures, other: Figures, other_name: str) -> dict[str, float]:
    """Return the ratios of two servers' figures of one round."""
    shared = [name for name in figures if other.get(name, 0) > 0]
    return {f"{name} / {other_name}": figures[name] / other[name] for name in shared}


def ratios_to_one(figures: Figures, one: str) -> dict[str, float]:
    """Return the ratios of figures to one of them."""
    return {f"{name} / {one}": figure / figures[one] for name, figure in figures.items() if name != one}


def worse_than(baseline: Figures, ratios: Figures) -> list[str]:
    """Return a warning for each ratio that is more than 15 % above the baseline's."""
    return [
        f"{name}: {ratio:.2f}, {ratio / baseline[name] - 1:.0%} above the baseline's {baseline[name]:.2f}"
        for name, ratio in ratios.items()
        if name in baseline and ratio > baseline[name] * WORSE
    ]


def read_baseline() -> dict[str, float]:
    return dict(json.loads(BASELINE.read_text())["ratios"]) if BASELINE.exists() else {}


def write_baseline(ratios: Figures) -> None:
    """Replace the committed ratios that were measured in this run, and keep the others."""
    kept = {**read_baseline(), **{name: round(ratio, 2) for name, ratio in ratios.items()}}
    BASELINE.write_text(json.dumps({"ratios": kept}, indent=2) + "\n")


def table(ratios: Figures, baseline: Figures) -> list[str]:
    """Return the lines of a table with each ratio, its target and the baseline's."""
    lines = [f"{'CPU time, as a ratio':44} {'now':>6} {'target':>7} {'baseline':>9}"]
    for name, ratio in ratios.items():
        target = f"{TARGETS[name]:.1f}" if name in TARGETS else "–"
        known = f"{baseline[name]:.2f}" if name in baseline else "–"
        verdict = "" if name not in TARGETS else "  met" if ratio <= TARGETS[name] else "  missed"
        lines.append(f"{name:44} {ratio:6.2f} {target:>7} {known:>9}{verdict}")
    return lines


def machine() -> dict[str, Any]:
    """Describe the machine, for the JSON output."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = models[0].partition(": ")[2] if models else platform.machine()
    return {"processor": name, "processors": len(models), "kernel": platform.release(), "python": platform.python_version()}
