"""Charts as SVG coordinates, drawn by a template. Without scripts they also print, and they use the theme's colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

WIDTH, HEIGHT = 480, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 10, 24
TICKS = 4
DATES_SHOWN = 4

Value = int | None


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series: a polyline for each run of days with values, and a dot for each value."""

    name: str
    pieces: list[str]
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    unit: str
    bars: list[Bar]
    lines: list[Line]
    ticks: list[tuple[float, str]]
    dates: list[tuple[float, str]]
    latest: str
    is_bad: bool = False
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    date_y: int = HEIGHT - 6

    @property
    def is_empty(self) -> bool:
        return not any(bar.height for bar in self.bars) and not any(line.dots for line in self.lines)


def bar_chart(title: str, days: Sequence[date], values: Sequence[int], *, is_bad: bool = False) -> Chart:
    """Lay out one bar per day. `is_bad` selects the warning colour."""
    top = nice_ceiling(max(values, default=0))
    step = _step(len(days))
    bars = []
    for index, (day, value) in enumerate(zip(days, values, strict=True)):
        y = _y(value, top)
        label = f"{day:%a %d %b}: {value:,}"
        bars.append(Bar(round(LEFT + index * step + step * 0.14, 1), y, round(step * 0.72, 1), round(_y(0, top) - y, 1), label))
    latest = f"{values[-1]:,}" if values else ""
    return Chart(title, "", bars, [], _ticks(top), _dates(days, step), latest, is_bad)


def line_chart(title: str, days: Sequence[date], series: Mapping[str, Sequence[Value]], unit: str = "") -> Chart:
    """Lay out one line per series. A day without a value interrupts the line."""
    top = nice_ceiling(max((value for values in series.values() for value in values if value is not None), default=0))
    step = _step(len(days))
    lines = [_line(name, days, values, top, step, unit) for name, values in series.items()]
    latest = " / ".join(f"{values[-1]:,}{unit}" for values in series.values() if values and values[-1] is not None)
    return Chart(title, unit, [], lines, _ticks(top), _dates(days, step), latest)


def nice_ceiling(value: int) -> int:
    """Return the next round number that is divisible by 4, for four ticks: 4, 8, 20, 40, 80, 100, 200, …"""
    magnitude = 1
    while True:
        for factor in (4, 8, 10, 20):
            ceiling = factor * magnitude
            if ceiling >= value and ceiling % TICKS == 0:
                return ceiling
        magnitude *= 10


def short_number(value: float) -> str:
    """Write a number for an axis: 950, 1.2k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def _line(name: str, days: Sequence[date], values: Sequence[Value], top: int, step: float, unit: str) -> Line:
    pieces: list[list[str]] = [[]]
    dots = []
    for index, (day, value) in enumerate(zip(days, values, strict=True)):
        if value is None:
            pieces.append([])
            continue
        x, y = round(LEFT + (index + 0.5) * step, 1), _y(value, top)
        pieces[-1].append(f"{x},{y}")
        dots.append((x, y, f"{day:%a %d %b}, {name}: {value:,}{unit}"))
    return Line(name, [" ".join(piece) for piece in pieces if len(piece) > 1], dots)


def _step(count: int) -> float:
    return (WIDTH - LEFT - RIGHT) / max(count, 1)


def _y(value: int, top: int) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)


def _ticks(top: int) -> list[tuple[float, str]]:
    return [(_y(value, top), short_number(value)) for value in range(0, top + 1, top // TICKS)]


def _dates(days: Sequence[date], step: float) -> list[tuple[float, str]]:
    every = max(1, -(-len(days) // DATES_SHOWN))
    # Count from the end, so that today always has a label.
    shown = [index for index in range(len(days)) if (len(days) - 1 - index) % every == 0]
    return [(round(LEFT + (index + 0.5) * step, 1), f"{days[index].day} {days[index]:%b}") for index in shown]
