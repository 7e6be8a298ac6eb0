"""The dashboard and the figures behind it."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from conversations.admin.charts import bar_chart, line_chart, nice_ceiling, short_number
from conversations.models import DailyFigures, Message
from conversations.services.staff.daily_figures import count_days, read_period
from conversations.tests.factories import make_conversation

from .factories import make_message

pytestmark = pytest.mark.one_day

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PAGE = "/admin/conversations/conversation/dashboard/"


def _message(role: str, at: datetime, conversation=None, **fields) -> Message:
    return make_message(conversation or make_conversation(user_id=uuid4()), role, "x", created_at=at, **fields)


def _count_all_days() -> None:
    """Count the days that are over, which a page does only until its time is up: on a busy machine it counts a few."""
    read_period(now=timezone.now(), budget_s=1000)


@pytest.mark.django_db
def test_a_day_is_counted() -> None:
    talk = make_conversation()
    _message("user", NOW, talk)
    _message("user", NOW, talk)
    _message("user", NOW)
    _message("user", NOW.replace(hour=0, minute=0))
    for milliseconds, status in ((100, "complete"), (200, "stopped"), (300, "failed"), (None, "interrupted")):
        _message(
            "assistant", NOW, talk, token_count=10, first_token_ms=milliseconds, inference_time_ms=milliseconds, status=status
        )
    _message("user", NOW + timedelta(hours=12))
    _message("user", NOW - timedelta(hours=12, microseconds=1))
    figures = count_days([NOW.date()])[NOW.date()]
    assert (figures.sent, figures.replies, figures.tokens, figures.active_users, figures.failures) == (4, 4, 40, 3, 2)
    assert (figures.first_token_p50_ms, figures.first_token_p95_ms) == (200, 290)
    assert (figures.inference_p50_ms, figures.inference_p95_ms) == (200, 290)


@pytest.mark.django_db
def test_what_a_client_brought_is_not_counted() -> None:
    talk = make_conversation()
    _message("user", NOW, talk, source="client")
    _message("assistant", NOW, talk, source="client", token_count=10, first_token_ms=7, inference_time_ms=7, status="failed")
    figures = count_days([NOW.date()])[NOW.date()]
    assert (figures.sent, figures.replies, figures.tokens, figures.active_users, figures.failures) == (0, 0, 0, 0, 0)
    assert (figures.first_token_p50_ms, figures.inference_p50_ms) == (None, None)


@pytest.mark.django_db
def test_a_day_without_messages_is_all_noughts() -> None:
    figures = count_days([NOW.date()])[NOW.date()]
    assert (figures.sent, figures.tokens, figures.active_users, figures.inference_p95_ms) == (0, 0, 0, None)


@pytest.mark.django_db
def test_days_that_are_over_are_counted_once(django_assert_num_queries) -> None:
    read_period(now=NOW, budget_s=1000)
    assert DailyFigures.objects.count() == 29, "all but today"
    with django_assert_num_queries(1):
        again = read_period(now=NOW, budget_s=0)
    assert (len(again.days), again.missing) == (30, 0)
    _message("user", NOW - timedelta(days=3))
    assert sum(day.sent for day in read_period(now=NOW).days) == 0


@pytest.mark.django_db
def test_a_month_takes_few_statements(django_assert_max_num_queries) -> None:
    for back in (0, 1, 1, 29):
        _message("user", NOW - timedelta(days=back))
    with django_assert_max_num_queries(20):
        period = read_period(now=NOW, budget_s=1000)
    assert [day.sent for day in period.days] == [1, *[0] * 27, 2, 1]
    assert [day.active_users for day in period.days] == [1, *[0] * 27, 2, 1]


@pytest.mark.django_db
def test_today_is_counted_again_when_its_minute_is_over() -> None:
    _message("user", NOW)
    assert read_period(now=NOW).days[-1].sent == 1
    _message("user", NOW)
    assert read_period(now=NOW).days[-1].sent == 1
    cache.clear()
    assert read_period(now=NOW).days[-1].sent == 2


@pytest.mark.django_db
def test_a_day_is_not_final_before_its_last_replies_ended() -> None:
    read_period(now=NOW.replace(hour=0, minute=30), budget_s=1000)
    assert not DailyFigures.objects.filter(day=date(2026, 3, 9)).exists()
    read_period(now=NOW.replace(hour=1, minute=30), budget_s=1000)
    assert DailyFigures.objects.filter(day=date(2026, 3, 9)).exists()


@pytest.mark.django_db
def test_one_look_counts_only_as_long_as_it_may() -> None:
    period = read_period(now=NOW, budget_s=0)
    assert [day.day for day in period.days] == [NOW.date()]
    assert period.missing == 29


@pytest.mark.django_db
def test_a_page_with_missing_days_says_so_and_loads_itself_again(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _count_all_days()
    assert 'http-equiv="refresh"' not in support.get(PAGE).content.decode()
    cache.clear()
    DailyFigures.objects.filter(day__lt=timezone.now() - timedelta(days=4)).delete()
    monkeypatch.setattr("conversations.admin.dashboard.read_period", lambda now: read_period(now=now, budget_s=0))
    page = support.get(PAGE).content.decode()
    assert "not counted yet" in page
    assert 'http-equiv="refresh"' in page


@pytest.mark.django_db
def test_the_page_draws_and_tells_its_figures(support: Client) -> None:
    _message("user", timezone.now())
    _message("assistant", timezone.now(), token_count=1234, first_token_ms=150, inference_time_ms=2500, status="failed")
    _count_all_days()
    page = support.get(PAGE).content.decode()
    assert page.count("<svg viewBox") == 6
    assert page.count('class="chart-bar"') == 120
    assert "<b>1,234</b> reply tokens" in page
    assert "100.0 %" in page
    assert "150 / 150 ms" in page


@pytest.mark.django_db
def test_an_empty_service_has_a_dashboard(support: Client) -> None:
    assert "No data in this period." in support.get(PAGE).content.decode()


DAYS = [date(2026, 3, 1) + timedelta(days=number) for number in range(4)]


def test_bars_stand_on_the_axis_and_are_as_high_as_their_values() -> None:
    chart = bar_chart("Messages", DAYS, [0, 50, 100, 25])
    heights = [bar.height for bar in chart.bars]
    assert heights[2] == pytest.approx(2 * heights[1]) == pytest.approx(4 * heights[3])
    assert heights[0] == 0
    assert {round(bar.y + bar.height, 1) for bar in chart.bars} == {chart.ticks[0][0]}
    assert chart.bars[2].label == "Tue 03 Mar: 100"
    assert chart.dates[-1][1] == "4 Mar"


def test_lines_break_where_nothing_was_measured() -> None:
    chart = line_chart("Time", DAYS, {"median": [1, 2, None, 3]}, " ms")
    (line,) = chart.lines
    assert len(line.dots) == 3
    assert [len(piece.split()) for piece in line.pieces] == [2]


@pytest.mark.parametrize("values", [[], [0], [0, 0]])
def test_charts_of_nothing_are_empty(values: list[int]) -> None:
    assert bar_chart("Messages", DAYS[: len(values)], values).is_empty


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 4), (4, 4), (5, 8), (9, 20), (21, 40), (99, 100), (101, 200), (7_000_000, 8_000_000)]
)
def test_axes_end_at_round_numbers(value: int, ceiling: int) -> None:
    assert nice_ceiling(value) == ceiling


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (950, "950"), (1500, "1.5k"), (2_000_000, "2M")])
def test_axes_are_labelled_shortly(number: int, text: str) -> None:
    assert short_number(number) == text
